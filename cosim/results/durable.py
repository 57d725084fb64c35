"""Writing that survives a kill and a power cut.

A file is on the disk before its name is, and a name appears all at once. Folders that are under way are held by the
process that fills them; what one that was killed has left can be told from that, whatever its process id is now.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

PART, OLD = ".part", ".old"
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


class HeldFolder:
    """A hidden folder beside a wanted one, held by this process until :meth:`release`; renaming it keeps the hold.

    Args:
        beside: the wanted folder; its parent exists.

    Attributes:
        path: the folder, which is empty.

    Raises:
        OSError: it cannot be created.
    """

    def __init__(self, beside: Path) -> None:
        while True:
            self.path = hidden_beside(beside, PART)
            self.path.mkdir()
            self._hold = _held(self.path, wait=True)
            if self._hold is None and self.path.is_dir() or self._hold is not None and _is_at(self._hold, self.path):
                return
            self.release()  # another process has taken it for left behind between its creation and the hold

    def release(self) -> None:
        """Let go of the folder, wherever it is now."""
        if self._hold is not None:
            os.close(self._hold)
            self._hold = None


def hidden_beside(place: Path, suffix: str) -> Path:
    """A hidden, unused name beside a place, so that renaming stays on one file system."""
    return place.parent / f".{place.name}.{secrets.token_hex(6)}{suffix}"


def replace_folder(part: Path, place: Path) -> None:
    """Have a folder on the disk and put it in a place; an earlier one there makes room only then.

    Raises:
        OSError: it cannot be; what was there before stays.
    """
    flush_tree(part)
    if place.exists():
        earlier = hidden_beside(place, OLD)
        hold = _held(place, wait=False)
        os.rename(place, earlier)
        try:
            os.rename(part, place)
        except OSError:
            os.rename(earlier, place)
            raise
        finally:
            if hold is not None:
                os.close(hold)
        with suppress(OSError):  # half of it must never be taken for earlier results
            unwanted = hidden_beside(place, PART)
            os.rename(earlier, unwanted)
            shutil.rmtree(unwanted, ignore_errors=True)
    else:
        os.rename(part, place)
    flush_folder(place.parent)


def clear_left(place: Path) -> None:
    """Clean up beside a place after processes that were killed while they wrote to it.

    What they had not finished is removed. Earlier results that had just made room are put back where nothing has taken
    their place. What a living process holds is left alone.
    """
    name = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{12}}({re.escape(PART)}|{re.escape(OLD)})")
    with suppress(OSError):
        for left in sorted(place.parent.iterdir()):
            if name.fullmatch(left.name) and left.is_dir() and not left.is_symlink():
                _clear(left, place)


def _clear(left: Path, place: Path) -> None:
    """Remove or put back a folder that nobody holds."""
    hold = _held(left, wait=False)
    if hold is None:
        return
    try:
        if left.suffix == OLD and not os.path.lexists(place):
            os.rename(left, place)
        elif _is_at(hold, left):
            shutil.rmtree(left, ignore_errors=True)
    except OSError:
        pass
    finally:
        os.close(hold)


def _held(folder: Path, *, wait: bool) -> int | None:
    """A hold on a folder, which ends with this process; None if it cannot be had."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover - a system without such locks, on which nothing is taken for left behind
        return None
    descriptor = None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open folder is still what has this name."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def is_held(place: Path) -> bool | None:
    """Whether a living process holds a folder or a lock file; None where that cannot be told.

    Looking takes a shared hold for a moment.
    """
    try:
        import fcntl

        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except (ImportError, OSError):  # a system without such locks, or somebody else's folder
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(descriptor)
    return False
