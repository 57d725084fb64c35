"""Files that a user names: looked for and read within limits, so that neither a name nor a size stops
a program."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import IO

from cosim.errors import InputError

_NAME_BYTES = 200
"""Longest name of a file or folder; most file systems take 255 bytes, and names beside it are a little longer."""
TABLE_BYTES = 32_000_000
"""Most bytes of a CSV table."""


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have (too long, a null character) is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; see :func:`is_file`."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def open_ordinary(path: Path) -> IO[bytes]:
    """Open a file to read it if it is an ordinary one: no link, and nothing that would keep its reader waiting.

    Raises:
        OSError: it is none, or cannot be read.
    """
    stream = open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)), "rb")
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
    return stream


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in parts.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_text(path: Path, most_bytes: int, key: str | None = None) -> str:
    """The text of a file in UTF-8; a byte-order mark is left out.

    Raises:
        InputError: not readable, not UTF-8, or larger than ``most_bytes``.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(most_bytes + 1)
    except OSError as error:
        raise InputError(f"the file is not readable ({error.strerror})", file=path, key=key) from None
    if len(data) > most_bytes:
        raise InputError("the file is too large", file=path, key=key, allowed=f"at most {most_bytes:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"byte {error.start:,}"
        raise InputError(f"the file is not readable as text in UTF-8 ({where})", file=path, key=key) from None


def check_name(path: Path, key: str) -> None:
    """Refuse a path that no file can have, or that cannot be handed on as text in UTF-8.

    Raises:
        InputError: naming the path.
    """
    try:
        text = str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("the path is no text in UTF-8", key=key, value=str(path),
                         allowed="another path, or PYTHONUTF8=1 in the environment") from None  # fmt: skip
    if b"\0" in text or any(len(part.encode("utf-8")) > _NAME_BYTES for part in path.parts):
        raise InputError("no file can have this path", key=key, value=str(path),
                         allowed=f"names of at most {_NAME_BYTES} bytes, without null characters")  # fmt: skip
