"""Where a run was made: the machine, versions of packages, and the git commit of the files that it was made from.

Nothing of a repository is executed: its commit and the hashes of its files are read, and compared with the files.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from cosim.installed import installed

_GIT_S = 10
_SAFE = (
    "--no-pager", "--literal-pathspecs", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
)  # fmt: skip


def machine() -> dict[str, str]:
    """The system and the Python that a run was made with."""
    return {
        "system": platform.system(), "release": platform.release(), "machine": platform.machine(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }  # fmt: skip


@cache
def packages() -> dict[str, str]:
    """Version of cosim and of each package that it asks for, those that are installed, by name."""
    try:
        asked = metadata.requires("cosim-grid") or []
    except metadata.PackageNotFoundError:
        asked = []
    names = [re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0] for text in asked if "extra ==" not in text]
    return installed(("cosim-grid", *sorted(names)))


def commit_of(folder: Path, files: Iterable[Path]) -> dict[str, Any] | None:
    """The commit of the repository around a folder, and which of some files are not as in it.

    Returns:
        ``commit`` (None before the first one) and ``changed`` (paths from the repository's root, sorted); None if the
        folder is in no repository, or git cannot tell.
    """
    root_text = _git(folder, "rev-parse", "--show-toplevel")
    if root_text is None:
        return None
    root = Path(root_text.strip()).resolve()
    inside = {}
    for file in files:
        resolved = file.resolve()
        if resolved.is_relative_to(root):
            inside[resolved.relative_to(root).as_posix()] = resolved
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if commit is None:
        return {"commit": None, "changed": sorted(inside)}
    listed = _git(root, "ls-tree", "-r", "-z", "--full-tree", "HEAD", "--", *inside) if inside else ""
    if listed is None:
        return None
    kept = {}
    for line in listed.split("\0"):
        head, _, name = line.partition("\t")
        kept[name] = head.rpartition(" ")[2]
    return {"commit": commit.strip(), "changed": sorted(n for n, f in inside.items() if not _same(f, kept.get(n)))}


def _same(file: Path, object_id: str | None) -> bool:
    """Whether a file has the content that git has stored under a name."""
    if object_id is None:
        return False
    try:
        content = file.read_bytes()
    except OSError:
        return False
    whole = hashlib.sha256 if len(object_id) == 64 else hashlib.sha1
    return whole(b"blob %d\0" % len(content) + content).hexdigest() == object_id


def _git(folder: Path, *arguments: str) -> str | None:
    """What a command of git that only reads says; None if it fails, or there is no git."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", *_SAFE, *arguments], cwd=folder, env=environment, capture_output=True, timeout=_GIT_S,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else None
