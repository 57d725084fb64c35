"""What may be read: ordinary files below one folder, named without tricks, reached without a link that leads out."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

from cosim.files import open_ordinary

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST = 4096
_MOST_ENTRIES = 500_000


class Refused(Exception):
    """Something that is not given out; the message says why in a sentence."""


class Inside:
    """A folder below which things may be read.

    Args:
        root: the folder; links in its own path are followed once, now.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve(strict=True)

    def place(self, address: str) -> Path:
        """The path that an address means, its links followed: names separated by ``/``, relative to the folder.

        Raises:
            Refused: it is no such address, is hidden, leads out of the folder, or there is nothing.
        """
        names = address.split("/") if address else []
        if len(address) > _LONGEST or _CONTROL.search(address) or "\\" in address:
            raise Refused("no file has this address")
        if any(name in ("", ".", "..") or name.startswith(".") for name in names):
            raise Refused("an address has names alone: no '..', no hidden folder, no absolute path")
        path = self.root.joinpath(*names)
        try:
            real = path.resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            raise Refused("there is nothing at this address") from None
        if not real.is_relative_to(self.root):
            raise Refused("a link leads out of the folder that is shown")
        return real

    def address(self, path: Path) -> str:
        """The address of a path below the folder."""
        found = path.relative_to(self.root).as_posix()
        return "" if found == "." else found

    def check(self, folder: Path) -> None:
        """See that nothing below a folder leads out, or is no ordinary file: what reads it may then follow names.

        Raises:
            Refused: naming what does.
        """
        count, waiting = 0, [folder]
        while waiting:
            here = waiting.pop()
            try:
                entries = list(os.scandir(here))
            except OSError as error:
                raise Refused(f"{here.name} cannot be read ({error.strerror})") from None
            for entry in entries:
                count += 1
                if entry.is_symlink():
                    self._check_link(Path(entry.path))
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    raise Refused(f"{entry.name} is no ordinary file")
            if count > _MOST_ENTRIES:
                raise Refused(f"there are more than {_MOST_ENTRIES:,} files in this folder")

    def _check_link(self, path: Path) -> None:
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return  # it leads to nothing, so nothing can be read there
        if not real.is_relative_to(self.root):
            raise Refused(f"{path.name} is a link that leads out of the folder that is shown")
        if real.is_dir():
            raise Refused(f"{path.name} is a link to a folder")

    def content(self, path: Path, most: int) -> bytes:
        """The content of an ordinary file.

        Raises:
            Refused: it is none, is a link, or is larger than ``most`` bytes.
        """
        try:
            with open_ordinary(path) as stream:
                content = stream.read(most + 1)
        except OSError as error:
            raise Refused(f"the file cannot be read ({error.strerror})") from None
        if len(content) > most:
            raise Refused(f"the file has more than {most:,} bytes; open it from its folder")
        return content


def linked(address: str) -> str:
    """An address as part of a link."""
    return quote(address, safe="/")
