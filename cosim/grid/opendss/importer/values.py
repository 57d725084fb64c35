"""Values of a script, checked and written again so that OpenDSS can read them in one way only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cosim.grid.opendss.importer.files import Files
from cosim.grid.opendss.importer.tokens import QUOTES, Refused, Token, tokenise
from cosim.grid.opendss.importer.vocabulary import BUSES, COUNTS, FILES, LEFT_OUT, REFUSED, Vocabulary

_PLAIN = re.compile(r"[^\s\x00-\x1f\x7f\"'()\[\]{}=,!]+")
"""Text that needs no quotes."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_VARIABLE = re.compile(r"(?<![^\s,|])@[^\s,|]+")
"""A variable within a list or a calculation."""
_FROM_FILE = ("file", "sngfile", "dblfile")
MOST_NODES = 30
"""Nodes of one bus: OpenDSS keeps room for a limited number."""
_BUS = re.compile(rf"[^.]*(\.\d{{0,3}}){{0,{MOST_NODES}}}")
LONGEST_NAME = 255
SHARED_POINTS = 20_000_000


@dataclass(slots=True)
class Values:
    """Variables of a script, and the files its values may name."""

    files: Files
    variables: dict[str, str] = field(default_factory=dict)
    points: int = 0

    def set_variable(self, token: Token) -> None:
        """Take ``@name=value``; the name is the token's."""
        if not token.name.startswith("@") or len(token.name) < 2 or len(token.text) > LONGEST_NAME:
            allowed = f"var @name=value, up to {LONGEST_NAME} characters"
            raise Refused("no definition of a variable", allowed, token.text)
        self.variables[token.name] = self.expanded(token).text

    def expanded(self, token: Token) -> Token:
        """The token with its variables replaced by their values."""
        if "@" not in token.text:
            return token
        if not re.search(r"[\s,|]", token.text):
            text = self._expand(token.text) if token.text.startswith("@") else token.text
            quote = token.quote or ("(" if re.search(r"[\s,]", text) else "")
            return Token(text, token.name, quote)
        text = _VARIABLE.sub(lambda found: self._nested(self._expand(found[0])), token.text)
        return Token(text, token.name, token.quote)

    def _expand(self, text: str) -> str:
        """A variable's value in place of its name, which ends at the first ``^`` or else at the first dot."""
        end = text.find("^")
        end = end if end > 0 else text.find(".")
        name, rest = (text[:end], text[end:]) if end > 0 else (text, "")
        if name.lower() not in self.variables:
            known = ", ".join(list(self.variables)[:10]) or "none is defined"
            raise Refused("unknown variable", known, name)
        return self.variables[name.lower()] + rest

    @staticmethod
    def _nested(text: str) -> str:
        return f"{{{text}}}" if re.search(r"[\s,]", text) else text

    def properties(self, words: Vocabulary, tokens: Sequence[Token], folder: Path, what: str) -> tuple[str, list[str]]:
        """Properties written out, and those that are left out.

        Args:
            words: what the class knows. tokens: as in the script; one without a name is the property after the last.
            folder: in which files are named. what: class or command, for messages.

        Raises:
            Refused: a property that does not exist or describes no circuit, or a value that is not taken.
        """
        written, left = [], []
        last = -1
        for k, token in enumerate(tokens):
            if token.name:
                word = words.find(token.name)
            else:
                word = words.order[last + 1] if last + 1 < len(words.order) else None
            if word is None:
                raise Refused(f"{what} has no such property", _names(words), token.name or token.text)
            last = words.order.index(word)
            if not token.text:
                if k + 1 < len(tokens):
                    raise Refused("an empty value, after which OpenDSS reads no further", "a value", f"{word}=")
                continue
            if words.marks[word] == REFUSED:
                raise Refused(
                    f"{word} of {what} is not read: it describes no circuit, and may run code or write files",
                    "properties that describe a circuit", f"{token.name or word}={token.text}",
                )  # fmt: skip
            if words.marks[word] == LEFT_OUT:
                left.append(word)
                continue
            written.append(f"{word}={self.value(word, self.expanded(token), folder)}")
        return " ".join(written), left

    def value(self, word: str, token: Token, folder: Path) -> str:
        """One value as OpenDSS shall read it."""
        if word in FILES:
            return quoted(str(self.files.check_data(self.files.find(folder, token.text))))
        if word == "action" and "normalize".startswith(token.text.lower()):
            return "normalize"
        if word == "action" and not re.fullmatch(r"(?i)o(pen)?|c(lose)?|t(rip)?|r(eset)?", token.text):
            raise Refused("an action that describes no circuit", "normalize, open, close", token.text)
        if "=" in token.text:
            return self._from_file(token, folder)
        if word in COUNTS:
            self._check_count(word, token.text)
        elif word in BUSES and not all(_BUS.fullmatch(part) for part in re.split(r"[\s,]+", token.text.strip(" \t,"))):
            raise Refused("no bus", f"bus.node.node with up to {MOST_NODES} nodes by number", token.text)
        return written(token)

    def _check_count(self, word: str, text: str) -> None:
        most = COUNTS[word]
        if not re.fullmatch(r"\+?\d{1,9}(\.0*)?", text.strip()) or float(text) > most:
            raise Refused(f"{word} is not taken", f"a whole number, at most {most}", text)
        if word == "npts":
            self.points += int(float(text))
            if self.points > SHARED_POINTS:
                raise Refused("too many points of curves", f"{SHARED_POINTS} in all", text)

    def _from_file(self, token: Token, folder: Path) -> str:
        """A list that is read from a file: ``(file=name.csv, column=2, header=yes)``."""
        parts = tokenise(token.text)
        allowed = "a list, or (file=name, column=number, header=yes/no)"
        if not token.quote or not parts or parts[0].name not in _FROM_FILE:
            raise Refused("an equals sign in a value", allowed, token.text)
        path = self.files.check_data(self.files.find(folder, parts[0].text))
        again = [f"{parts[0].name}={quoted(str(path), _inside(token.quote))}"]
        for part in parts[1:]:
            name = next((n for n in ("column", "header") if part.name and n.startswith(part.name)), None)
            if name is None or not re.fullmatch(r"(?i)\d{1,4}|yes|no|true|false|y|n|t|f", part.text):
                raise Refused("not an option of a file of numbers", allowed, f"{part.name}={part.text}")
            again.append(f"{name}={part.text}")
        return written(Token(" ".join(again), quote=token.quote))


def _names(words: Vocabulary) -> str:
    return ", ".join(w for w in words.order if not words.marks[w])[:600]


def _inside(quote: str) -> Mapping[str, str]:
    return {a: b for a, b in QUOTES.items() if a != quote}


def written(token: Token) -> str:
    """A value in its own quotes, or without any where it needs none.

    Raises:
        Refused: characters that OpenDSS could read in more than one way.
    """
    text = token.text
    if _CONTROL.search(text):
        raise Refused("a control character", "printable text", text)
    if token.quote and QUOTES[token.quote] not in text:
        return f"{token.quote}{text}{QUOTES[token.quote]}"
    if not token.quote and _PLAIN.fullmatch(text) and "//" not in text:
        return text
    raise Refused("quotes or brackets within a value", "plain text, or one pair of quotes around it", text)


def quoted(text: str, quotes: Mapping[str, str] = QUOTES) -> str:
    """Text in quotes that it does not contain.

    Raises:
        Refused: it contains all of them.
    """
    for opening, closing in quotes.items():
        if opening not in text and closing not in text:
            return f"{opening}{text}{closing}"
    raise Refused("a name with quotes or brackets of every kind", "a plain name", text)


def plain_name(text: str) -> str:
    """A name of an element, written so that it is one token.

    Raises:
        Refused: an empty, long or ambiguous name.
    """
    if not text or len(text) > LONGEST_NAME or _CONTROL.search(text):
        raise Refused("no name of an element", f"class.name, up to {LONGEST_NAME} characters", text)
    return text if _PLAIN.fullmatch(text) and "//" not in text else quoted(text)
