"""How damage is seen: the sizes and hashes of files, and JSON that carries the hash of its own text."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HEAD, _AFTER = b'{"sha256": "', b'", '
_DIGITS = 64


class Damage(Exception):
    """A file is not what was written; the message names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What a file must be: its size in bytes and the SHA-256 of its content in hexadecimal."""

    size: int
    sha256: str


def content_of(path: Path) -> bytes:
    """Content of a regular file.

    Raises:
        Damage: it is missing, no file, or cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Damage(f"{path.name} is not a file")
        return path.read_bytes()
    except FileNotFoundError:
        raise Damage(f"{path.name} is missing") from None
    except OSError as error:
        raise Damage(f"{path.name} cannot be read ({error.strerror})") from None


def entry_of(path: Path) -> FileEntry:
    """Size and hash of a file, read in parts.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return FileEntry(os.fstat(stream.fileno()).st_size, digest.hexdigest())


def entries_of(folder: Path, names: Iterable[str]) -> dict[str, FileEntry]:
    """Size and hash of files of a folder, by name in the order of the alphabet.

    Raises:
        OSError: one of them cannot be read.
    """
    return {name: entry_of(folder / name) for name in sorted(names)}


def check_files(folder: Path, files: Mapping[str, FileEntry], *, thorough: bool) -> None:
    """See that files of a folder are what they must be.

    Args:
        files: by their name in the folder.
        thorough: whether their content is read; otherwise only their sizes are compared.

    Raises:
        Damage: the first that is not.
    """
    for name, entry in files.items():
        if os.path.isabs(name) or ".." in Path(name).parts:
            raise Damage(f"{name} lies outside of the folder")
        path = folder / name
        try:
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                raise Damage(f"{name} is not a file")
            if found.st_size != entry.size:
                raise Damage(f"{name} has {found.st_size} bytes instead of {entry.size}")
            if thorough and entry_of(path) != entry:
                raise Damage(f"the content of {name} has changed")
        except FileNotFoundError:
            raise Damage(f"{name} is missing") from None
        except OSError as error:
            raise Damage(f"{name} cannot be read ({error.strerror})") from None


def check_content(name: str, content: bytes, entry: FileEntry) -> None:
    """See that what was read of a file is what it must be.

    Raises:
        Damage: it is not.
    """
    if len(content) != entry.size:
        raise Damage(f"{name} has {len(content)} bytes instead of {entry.size}")
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise Damage(f"the content of {name} has changed")


def sealed(data: Mapping[str, Any]) -> bytes:
    """A JSON object that begins with the SHA-256 of the rest of its text, so that any change of it is seen.

    What JSON does not know, as dates, becomes text.
    """
    text = json.dumps(data, default=str).encode()
    return _HEAD + hashlib.sha256(text).hexdigest().encode() + _AFTER + text[1:]


def unsealed(name: str, content: bytes, kind: str, version: int) -> dict[str, Any]:
    """The object that :func:`sealed` made a text of, without its ``format`` and ``store_version``.

    Args:
        name: of the file, for the message.
        kind, version: what its ``format`` and ``store_version`` must be.

    Raises:
        Damage: the text was changed or cut off, or is something else.
    """
    at = len(_HEAD) + _DIGITS
    text = b"{" + content[at + len(_AFTER) :]
    head, digest, after = content[: len(_HEAD)], content[len(_HEAD) : at], content[at : at + len(_AFTER)]
    if (head, after) != (_HEAD, _AFTER):
        raise Damage(f"{name} is " + ("empty" if not content.strip() else "not a file of this version of a sweep"))
    if hashlib.sha256(text).hexdigest().encode() != digest:
        raise Damage(f"the content of {name} has changed")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise Damage(f"{name} is not readable as JSON") from None
    if not isinstance(data, dict) or data.pop("format", None) != kind or data.pop("store_version", None) != version:
        raise Damage(f"{name} is of another kind, or of another version")
    return data
