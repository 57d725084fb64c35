"""Files that a script may read: ordinary files inside one folder, no larger than their limit."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cosim.grid.opendss.importer.tokens import Refused

SCRIPT_BYTES = 16_000_000
"""All scripts of an import together, each as often as it is read."""
DATA_BYTES = 64_000_000
"""All files of numbers of an import together."""
READS = 2000


@dataclass(slots=True)
class Files:
    """Access to the files below one folder.

    Attributes:
        root: the folder, without symbolic links. opened: the files that were read or looked at, in order.
    """

    root: Path
    scripts: int = 0
    data: int = 0
    reads: int = 0
    opened: list[Path] = field(default_factory=list)
    _names: dict[Path, dict[str, str]] = field(default_factory=dict)

    def find(self, folder: Path, text: str) -> Path:
        """A file named in a script that lies in ``folder``; case does not matter, nor does the kind of slash.

        Raises:
            Refused: no such file, or one outside the root, also by a symbolic link.
        """
        allowed = f"a file inside {self.root}"
        if not text.strip() or "\0" in text or len(text) > 4000:
            raise Refused("no name of a file", allowed)
        wanted = Path(text.strip().replace("\\", "/"))
        if ":" in wanted.parts[0][:3]:
            raise Refused("a path with a drive", allowed)
        try:
            found = self._resolve(folder / wanted)
            if found is None and not wanted.suffix:
                found = self._resolve(folder / f"{wanted}.dss")
        except (OSError, RuntimeError):
            raise Refused("no such file", allowed) from None
        if found is None:
            raise Refused("no such file", allowed)
        return named_in_unicode(found)

    def _resolve(self, path: Path) -> Path | None:
        """The file itself, its name in whatever case."""
        here = Path(path.anchor)
        for part in Path(os.path.normpath(path)).parts[1:]:
            there = here / part
            if not os.path.lexists(there):
                if not here.is_relative_to(self.root):
                    raise Refused("a file outside the folder of the script", f"a file inside {self.root}")
                other = self._entries(here).get(part.lower())
                if other is None:
                    return None
                there = here / other
            here = there.resolve()
        if not here.is_relative_to(self.root):
            raise Refused("a file outside the folder of the script", f"a file inside {self.root}")
        return here

    def _entries(self, folder: Path) -> dict[str, str]:
        if folder not in self._names:
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            self._names[folder] = {name.lower(): name for name in names}
        return self._names[folder]

    def read_script(self, path: Path) -> list[str]:
        """Lines of a script.

        Raises:
            Refused: no ordinary file, more than all scripts together may have, or no text.
        """
        raw = _read(path, SCRIPT_BYTES - self.scripts, "all scripts together", SCRIPT_BYTES)
        self.scripts += len(raw) + 1
        self._count(path)
        if b"\0" in raw:
            raise Refused("no text", "an OpenDSS script")
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("cp1252", errors="replace")
        return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")

    def check_data(self, path: Path) -> Path:
        """A file of numbers that OpenDSS may read.

        Raises:
            Refused: no ordinary file, or more than all of them together may have.
        """
        self.data += _size(path, DATA_BYTES - self.data, "all files of numbers together", DATA_BYTES)
        self._count(path)
        return path

    def _count(self, path: Path) -> None:
        self.opened.append(path)
        self.reads += 1
        if self.reads > READS:
            raise Refused("too many files are read", f"{READS} files")


def named_in_unicode(path: Path) -> Path:
    """A path that OpenDSS can be given.

    Raises:
        Refused: its name is no text.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise Refused("the name of a file or of its folder is no text", "names in UTF-8", ascii(path.name)) from None
    return path


def _size(path: Path, limit: int, what: str, total: int) -> int:
    try:
        status = path.stat()
    except OSError as error:
        raise Refused(f"the file cannot be read ({error.strerror})", "a file that can be read") from None
    if not stat.S_ISREG(status.st_mode):
        raise Refused("no ordinary file", "a file, no device, pipe or folder")
    if status.st_size > limit:
        raise Refused("too large", f"{total // 1_000_000} MB for {what}")
    return status.st_size


def _read(path: Path, limit: int, what: str, total: int) -> bytes:
    """Read a file whose kind and size are looked at first; what grows meanwhile is not followed."""
    size = _size(path, limit, what, total)
    try:
        with path.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        raise Refused(f"the file cannot be read ({error.strerror})", "a file that can be read") from None
