"""Files that a user names: looked for and read within limits, so that neither a name nor a size stops a program."""

from __future__ import annotations

from pathlib import Path

from cosim.errors import InputError

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
        raise InputError(f"the file is not readable as text in UTF-8 (byte {error.start:,})", file=path, key=key) from None
