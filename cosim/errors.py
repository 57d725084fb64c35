"""The two ways in which cosim gives up: wrong input (exit code 2) and a failed run (exit code 1).

What is said of either is short, whatever the input was: see :func:`shortened`.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

MESSAGE_BYTES = 1900
"""Most bytes of the text of an error."""
_PART_BYTES = {"message": 700, "file": 250, "key": 200, "value": 200, "allowed": 450}
_CUT = " ..."
_LONGEST_NAME = 200


class InputError(ValueError):
    """Input that cannot be used, named so that its author can mend it.

    Args:
        message: what is wrong, in one sentence.
        file: the file in which it stands.
        key: the dotted key, table column or element.
        value: the value that was found.
        allowed: what would be accepted instead.
        others: what else is wrong with the same file.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        key: str | None = None,
        value: object = None,
        allowed: str | None = None,
        others: Sequence[InputError] = (),
    ) -> None:
        self.message, self.file, self.key, self.value, self.allowed = message, file, key, value, allowed
        self.others = tuple(others)
        details = [f"{name}: {text}" for name, text in self.details().items() if name != "file"]
        if file is not None:
            details.append(f"file: {self.details()['file']}")
        also = [f"also {one.key}: {_part('message', one.message)}" for one in self.others]
        super().__init__(shortened("; ".join([_part("message", message), *details, *also])))

    def details(self) -> dict[str, str]:
        """File, key, value and what is allowed, those that are known, each as one line."""
        named = {"file": self.file, "key": self.key, "value": self.value, "allowed": self.allowed}
        return {name: _part(name, _text(value)) for name, value in named.items() if value is not None}

    def changed(self, **parts: Any) -> InputError:
        """The same error with some of its parts (``message``, ``file``, ``key``, ...) changed."""
        names = ("message", "file", "key", "value", "allowed", "others")
        return InputError(**{name: parts.get(name, getattr(self, name)) for name in names})

    def placed(self, place: Callable[[str | None], str]) -> InputError:
        """The same error with its key, and those of its others, where ``place`` says that they stand."""
        return self.changed(key=place(self.key), others=[one.placed(place) for one in self.others])

    def also(self) -> list[str]:
        """What else is wrong: key, message and what is allowed, each as one line."""
        return [
            f"{_part('key', str(one.key))}: {_part('message', one.message)}"
            + (f" (allowed: {shortened(one.details()['allowed'], 120)})" if one.allowed else "")
            for one in self.others
        ]

    def headline(self) -> str:
        """What is wrong, as one line."""
        return _part("message", self.message)


class Evidence(Protocol):
    """What a failure leaves to be looked at."""

    def save(self, folder: Path) -> Path:
        """Write it into a folder, and return where."""
        ...


class RunFailure(RuntimeError):
    """A run that could not be finished although its input was right (a solver gave up, for example).

    Args:
        message: what failed, in one sentence.
        evidence: what can be kept of it, such as the program that no solver could solve.
    """

    def __init__(self, message: str, *, evidence: Evidence | None = None) -> None:
        super().__init__(shortened(message))
        self.evidence = evidence


def evidence_of(error: BaseException | None) -> Evidence | None:
    """The evidence of a failure, or of the failure that it was raised from."""
    while error is not None:
        if isinstance(error, RunFailure) and error.evidence is not None:
            return error.evidence
        error = error.__cause__ or error.__context__
    return None


def shortened(text: str, most_bytes: int = MESSAGE_BYTES) -> str:
    """The text, cut so that its UTF-8 form has at most so many bytes."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= most_bytes:
        return text
    return data[: most_bytes - len(_CUT)].decode("utf-8", "ignore") + _CUT


def did_you_mean(name: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """``"; did you mean 'x'?"`` for the known name that is nearest, or nothing."""
    text = _text(name)
    near = difflib.get_close_matches(text, list(known), n=1, cutoff=cutoff) if len(text) <= _LONGEST_NAME else []
    return f"; did you mean {near[0]!r}?" if near else ""


def listed(names: Sequence[object], most: int) -> str:
    """Names in a line, at most so many of them, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + rest


class _Brief(reprlib.Repr):
    """Values as text in bounded time, however large or deep they are."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 12
        self.maxstring = self.maxother = self.maxlong = 400

    def repr_int(self, x: int, level: int) -> str:
        """Integers of thousands of digits, which Python refuses to write out, by their size."""
        return repr(x) if x.bit_length() < 1000 else f"an integer of {x.bit_length()} bits"


def _text(value: object) -> str:
    if isinstance(value, str | Path):
        return str(value)
    if isinstance(value, bool | int | float | list | tuple | dict | set | frozenset | None):
        return _Brief().repr(value)
    return str(value)


def _part(name: str, text: str) -> str:
    """One part of a message: a line of printable characters that is not too long."""
    most = _PART_BYTES[name]
    text = shortened(text, 2 * most)  # before the characters are looked at one by one
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return shortened(text, most)
