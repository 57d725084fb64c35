"""A line of an OpenDSS script as OpenDSS itself divides it."""

from __future__ import annotations

import re
from dataclasses import dataclass

QUOTES = {"(": ")", '"': '"', "'": "'", "[": "]", "{": "}"}
_WHITE = " \t"
_END = re.compile(r"[ \t,=!]|//")
"""What ends a token without quotes: white space, a delimiter or a comment."""
_COMMENT = "!"


class Refused(ValueError):
    """Why a line of a script is refused.

    Args:
        message: what is wrong. allowed: what would be taken. value: what was found, if not the whole line.
    """

    def __init__(self, message: str, allowed: str, value: str | None = None) -> None:
        self.message, self.allowed, self.value = message, allowed, value
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Token:
    """A parameter of a line.

    Attributes:
        text: its value, without quotes. name: what stands before its ``=``, empty if nothing does.
        quote: the opening quote around the value, empty if there is none.
    """

    text: str
    name: str = ""
    quote: str = ""


def tokenise(line: str) -> list[Token]:
    """Parameters of a line, in the way of OpenDSS's own parser (``TDSSParser.GetNextParam``).

    Delimiters are ``,`` and ``=``, white space is blank and tab, ``!`` and ``//`` begin a comment except in quotes;
    quotes are ``()``, ``""``, ``''``, ``[]`` and ``{}`` and do not nest. An empty parameter stays, with no text.

    Raises:
        Refused: a quote that is not closed, which OpenDSS would close at the end of the line.
    """
    scan = _Scan(line)
    found = []
    while scan.position < len(line):
        scan.delimiter = " "
        text, quote = scan.token()
        name = ""
        if scan.delimiter == "=":
            name = text
            text, quote = scan.token()
        found.append(Token(text, name.lower(), quote))
    while found and not found[-1].text and not found[-1].name and not found[-1].quote:
        found.pop()  # what a comment or a last delimiter leaves
    return found


class _Scan:
    def __init__(self, line: str) -> None:
        self.line = line
        self.delimiter = " "
        self.position = 0
        self._skip_white()

    def _skip_white(self) -> None:
        while self.position < len(self.line) and self.line[self.position] in _WHITE:
            self.position += 1

    def token(self) -> tuple[str, str]:
        """The next token and its opening quote."""
        line, start = self.line, self.position
        if start >= len(line):
            return "", ""
        quote = line[start] if line[start] in QUOTES else ""
        if quote:
            end = line.find(QUOTES[quote], start + 1)
            if end < 0:
                raise Refused("a quote that is not closed", f"a {QUOTES[quote]} on the same line", line[start:])
            text, self.position = line[start + 1 : end], end + 1
        else:
            stop = _END.search(line, start)
            if stop is None:
                end, self.delimiter = len(line), " "
            else:
                end = stop.start()
                met = stop.group()
                self.delimiter = _COMMENT if met in ("!", "//") else " " if met in _WHITE else met
            text, self.position = line[start:end], end
        if self.delimiter == _COMMENT:
            self.position = len(line)
            return text, quote
        if self.delimiter == " ":
            self._skip_white()
        if self.position < len(line) and line[self.position] in ",=":
            self.delimiter = line[self.position]
            self.position += 1
        self._skip_white()
        return text, quote
