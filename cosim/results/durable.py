"""Writing that survives a power cut: a file is on the disk before its name is, and a name appears all at once."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

PART = ".part"
_NO_FLUSH = {errno.EINVAL, errno.ENOTSUP}
"""What file systems answer that know no flushing of folders."""


def flush_file(path: Path) -> None:
    """Have the content of a file on the disk before anything that is written later (``fsync``).

    Raises:
        OSError: it cannot be written.
    """
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def flush_folder(path: Path) -> None:
    """Have the names in a folder on the disk; systems that cannot flush a folder do so by themselves.

    Raises:
        OSError: they cannot be written.
    """
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Have all files below a folder on the disk, then the folders that hold their names, from the inside out.

    Raises:
        OSError: something cannot be written.
    """
    for inner, _, files in os.walk(folder, topdown=False):
        for name in files:
            flush_file(Path(inner, name))
        flush_folder(Path(inner))


def write_at_once(place: Path, content: bytes) -> None:
    """Write a file at once or not at all: under a hidden name first, flushed, then renamed.

    Raises:
        OSError: it cannot be written; what was there before stays.
    """
    part = place.parent / f".{place.name}.{secrets.token_hex(6)}{PART}"
    try:
        part.write_bytes(content)
        flush_file(part)
        os.replace(part, place)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    flush_folder(place.parent)
