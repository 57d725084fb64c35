"""An OpenDSS script read without OpenDSS: what describes a circuit, as commands that OpenDSS can be given.

OpenDSS's own language also runs native libraries, writes files anywhere and starts programs. So a script is read
here, against lists of what describes a circuit (:mod:`cosim.grid.opendss.importer.vocabulary`). What is on none of
them is refused by name, line and file before OpenDSS sees anything. What only shows or stores results is left out and
listed. The rest
is written again with whole names and the files of a ``redirect`` in its place: OpenDSS opens no script, and from files
of numbers only those that were looked at.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cosim.errors import InputError
from cosim.grid.opendss.importer.files import Files, named_in_unicode
from cosim.grid.opendss.importer.tokens import Refused, Token, tokenise
from cosim.grid.opendss.importer.values import Values, plain_name, quoted, written
from cosim.grid.opendss.importer.vocabulary import CLASSES, COMMANDS, LEFT_OUT, OPTIONS, REFUSED, Vocabulary

DEEPEST = 20
"""Scripts within scripts."""
LONGEST_LINE = 1_000_000
MOST_SOLUTIONS = 200
SHOWN = 120
"""Characters of a line in a message."""
_PATTERN = re.compile(r"[\w\-.*^$]{1,100}")
"""A pattern of names: of regular expressions only what is found in one pass."""
_WHOLE = {"calcvoltagebases", "makebuslist", "reprocessbuses", "buildy", "init", "interpolate", "setloadandgenkv",
          "allocateloads"}  # fmt: skip
"""Commands that take nothing."""
_RESET = Vocabulary.of("monitors meters faults controls eventlog keeplist")
_SNAPSHOT = ("snapshot", "direct")


@dataclass(frozen=True, slots=True)
class Command:
    """A command for OpenDSS, and the place in the script that it comes from."""

    text: str
    file: Path
    line: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something in a script that describes no circuit and does no harm: it is not given to OpenDSS."""

    what: str
    file: Path
    line: int


@dataclass(frozen=True, slots=True)
class Script:
    """A script as it is given to OpenDSS.

    Attributes:
        files: every script and file of numbers that it reads, in order.
    """

    commands: tuple[Command, ...]
    left_out: tuple[LeftOut, ...]
    files: tuple[Path, ...] = ()


def script_digest(script: Script) -> str:
    """Hash of all files that a script reads, whatever they are called and wherever they lie."""
    whole = hashlib.sha256()
    for path in script.files:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def read_script(file: Path, inside: Path | None = None) -> Script:
    """Read a script and everything that it redirects to.

    Args:
        file: the script.
        inside: the folder in which all files must lie that it reads; its own by default.

    Raises:
        InputError: a command, property or value that describes no circuit; a file outside the folder, a cycle, a file
            that is no ordinary one or larger than the limit.
    """
    path = file.resolve()
    reader = _Reader(Files((inside or path.parent).resolve()))
    try:
        if not path.is_relative_to(reader.files.root):
            raise Refused("the script lies outside the folder", f"a script inside {reader.files.root}")
        reader.run(named_in_unicode(path))
    except Refused as error:
        value = error.value or ascii(file.name)
        raise InputError(error.message, file=path, key="FILE", value=value, allowed=error.allowed) from None
    return Script(tuple(reader.commands), tuple(reader.left_out), tuple(reader.files.opened))


@dataclass(slots=True)
class _Reader:
    files: Files
    commands: list[Command] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    values: Values = field(init=False)
    open: list[Path] = field(default_factory=list)
    folder: Path = field(init=False)
    file: Path = field(init=False)
    line: int = 0
    active: tuple[str, str] | None = None
    solutions: int = 0

    def __post_init__(self) -> None:
        self.values = Values(self.files)
        self.folder = self.files.root

    def run(self, path: Path) -> None:
        """Read one script; the folder stays its own afterwards, as ``compile`` has it."""
        if path in self.open:
            raise Refused("a script that leads back to itself", "scripts without a cycle", path.name)
        if len(self.open) == DEEPEST:
            raise Refused("scripts too deep within each other", f"{DEEPEST} levels", path.name)
        lines = self.files.read_script(path)
        before = getattr(self, "file", path), self.line
        self.open.append(path)
        self.file, self.folder = path, path.parent
        comment = False
        for self.line, text in enumerate(lines, 1):
            comment = comment or text.startswith("/*")
            if not comment:
                self._read_line(text)
            elif "*/" in text:
                comment = False
        self.open.pop()
        self.file, self.line = before

    def _read_line(self, text: str) -> None:
        try:
            if len(text) > LONGEST_LINE:
                raise Refused("the line is too long", f"{LONGEST_LINE} characters")
            tokens = tokenise(text)
            if tokens and tokens[0].text:
                self._command(self.values.expanded(tokens[0]), tokens[1:], text)
        except Refused as error:
            found = text.strip() if error.value is None else error.value
            raise InputError(
                error.message, file=self.file, key=f"line {self.line}", value=found[:SHOWN], allowed=error.allowed
            ) from None

    def _add(self, text: str) -> None:
        self.commands.append(Command(text, self.file, self.line))

    def _leave_out(self, what: str) -> None:
        self.left_out.append(LeftOut(what[:SHOWN], self.file, self.line))

    def _command(self, first: Token, rest: Sequence[Token], text: str) -> None:
        if first.name:
            self._assign(first, rest)
            return
        word = COMMANDS.find(first.text)
        if word is None:
            raise Refused("no command of OpenDSS", "a command, or class.name.property=value", first.text)
        if COMMANDS.marks[word] == REFUSED:
            raise Refused(f"the command {word} is not read", "commands that describe a circuit")
        if COMMANDS.marks[word] == LEFT_OUT:
            self._leave_out(text.strip())
        elif word in _WHOLE:
            self._add(word)
        elif word in ("clear", "clearall"):
            self.active = None
            self._add("clear")
        else:
            _HANDLERS[word](self, rest)

    # -- elements ---------------------------------------------------------------------------------------------

    def _object(self, tokens: Sequence[Token]) -> tuple[str, str]:
        """Class and name of the element that a command names first."""
        if not tokens or (tokens[0].name and not "object".startswith(tokens[0].name)):
            raise Refused("no element is named", "class.name", tokens[0].name if tokens else None)
        text = tokens[0].text
        kind, dot, name = text.partition(".")
        if not dot:
            raise Refused("no element is named", "class.name", text)
        if name.startswith("@"):
            name = self.values.expanded(Token(name)).text
        return self._known(kind), name

    def _known(self, kind: str) -> str:
        word = kind.lower()
        if word not in CLASSES and word != "circuit":
            raise Refused("a class of elements that is not read", ", ".join(CLASSES), kind)
        return word

    def _new(self, tokens: Sequence[Token]) -> None:
        kind, name = self._object(tokens)
        place = plain_name(f"{kind}.{name}") if name else plain_name(name)
        self.active = ("vsource", "source") if kind == "circuit" else (kind, name)
        text, left = self.values.properties(CLASSES[self.active[0]], tokens[1:], self.folder, kind)
        self._add(f"new {place} {text}".rstrip())
        self._list(place, left)

    def _edit(self, tokens: Sequence[Token]) -> None:
        kind, name = self._object(tokens)
        if kind == "circuit":
            raise Refused("a circuit is edited through its source", "edit vsource.source ...", "circuit")
        self.active = (kind, name)
        self._more(tokens[1:])

    def _more(self, tokens: Sequence[Token]) -> None:
        if self.active is None:
            raise Refused("no element that could be gone on with", "new class.name before it")
        kind, name = self.active
        place = plain_name(f"{kind}.{name}")
        text, left = self.values.properties(CLASSES[kind], tokens, self.folder, kind)
        if text:
            self._add(f"edit {place} {text}")
        self._list(place, left)

    def _assign(self, first: Token, rest: Sequence[Token]) -> None:
        """``class.name.property=value``, ``name.property=value`` of the last class, or ``property=value``."""
        head, _, tail = first.name.partition(".")
        middle, dot, last = tail.partition(".")
        if dot:
            self.active, key = (self._known(head), middle), last
        elif tail:
            if self.active is None:
                raise Refused("no class is named", "class.name.property=value", first.name)
            self.active, key = (self.active[0], head), tail
        else:
            key = head
        if self.active is not None and self.active[0] == "circuit":
            raise Refused("a circuit is edited through its source", "vsource.source.property=value", first.name)
        self._more([Token(first.text, key, first.quote), *rest])

    def _batch_edit(self, tokens: Sequence[Token]) -> None:
        kind, pattern = self._object(tokens)
        if kind == "circuit" or not _PATTERN.fullmatch(pattern) or pattern.count("*") > 2:
            raise Refused("a pattern that is not read", "class.pattern of letters, digits, . * ^ $", tokens[0].text)
        text, left = self.values.properties(CLASSES[kind], tokens[1:], self.folder, kind)
        if text:
            self._add(f"batchedit {kind}.{pattern} {text}")
        self._list(f"{kind}.{pattern}", left)

    def _list(self, place: str, left: Sequence[str]) -> None:
        if left:
            self._leave_out(f"{place} {', '.join(left)}")

    def _select(self, tokens: Sequence[Token]) -> None:
        kind, name = self._object(tokens)
        if kind == "circuit":
            raise Refused("a circuit cannot be selected", "one circuit in a script", name)
        self.active = (kind, name)

    def _switch(self, verb: str, tokens: Sequence[Token], most: int) -> None:
        """Open or close a terminal, enable or disable an element."""
        kind, name = self._object(tokens)
        numbers = [token.text for token in tokens[1:]]
        if kind == "circuit" or len(numbers) > most or not all(re.fullmatch(r"\d{1,2}", n) for n in numbers):
            raise Refused(f"no element to {verb}", f"{verb} class.name terminal conductor")
        if name != "*":
            self.active = (kind, name)
        self._add(" ".join((verb, plain_name(f"{kind}.{name}"), *numbers)))

    # -- files ------------------------------------------------------------------------------------------------

    def _path(self, tokens: Sequence[Token]) -> Path:
        if not tokens:
            raise Refused("no file is named", "the name of a file")
        return self.files.find(self.folder, self.values.expanded(tokens[0]).text)

    def _redirect(self, tokens: Sequence[Token]) -> None:
        folder = self.folder
        self.run(self._path(tokens))
        self.folder = folder

    def _coordinates(self, verb: str, tokens: Sequence[Token]) -> None:
        self._add(f"{verb} {quoted(str(self.files.check_data(self._path(tokens))))}")

    # -- settings ---------------------------------------------------------------------------------------------

    def _settings(self, tokens: Sequence[Token]) -> list[str]:
        """Options that are passed on; those of other than snapshot solutions are left out."""
        found = []
        for token in tokens:
            if not token.name or not token.text:
                raise Refused("an option without a name or a value", "option=value", token.name or token.text)
            word = OPTIONS.find(token.name)
            if word is None:
                raise Refused("no option of OpenDSS", "an option of OpenDSS that describes a circuit", token.name)
            mark = OPTIONS.marks[word]
            value = self.values.expanded(token)
            if mark == REFUSED:
                raise Refused(f"the option {word} is not read", "options of the power flow", token.name)
            if word == "mode":
                mode = next((m for m in _SNAPSHOT if m.startswith(value.text.lower())), None)
                if mode is not None and value.text.lower() != "d":  # which is a daily solution
                    found.append(f"mode={mode}")
                    continue
            if mark == LEFT_OUT or word == "mode":
                self._leave_out(f"{word}={value.text}")
            else:
                found.append(f"{word}={self.values.value(word, value, self.folder)}")
        return found

    def _set(self, tokens: Sequence[Token]) -> None:
        found = self._settings(tokens)
        if found:
            self._add(f"set {' '.join(found)}")

    def _solve(self, tokens: Sequence[Token]) -> None:
        self.solutions += 1
        if self.solutions > MOST_SOLUTIONS:
            raise Refused("too many solutions", f"{MOST_SOLUTIONS} times solve")
        self._add(" ".join(("solve", *self._settings(tokens))))

    def _reset(self, tokens: Sequence[Token]) -> None:
        word = _RESET.find(tokens[0].text) if tokens else ""
        if word is None:
            raise Refused("nothing that can be reset", ", ".join(_RESET.order))
        self._add(f"reset {word}".rstrip())

    def _bus(self, verb: str, names: Sequence[str], tokens: Sequence[Token]) -> None:
        """``setkvbase`` and ``setbusxy``: a bus and its numbers."""
        if len(tokens) < 2 or any(token.name not in ("", *names) for token in tokens):
            raise Refused(f"{verb} is not understood", f"{verb} {' '.join(f'{n}=' for n in names)}")
        values = [self.values.expanded(token) for token in tokens]
        self._add(" ".join((verb, *(f"{v.name}={written(v)}" if v.name else written(v) for v in values))))

    def _variables(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            self.values.set_variable(token)


_HANDLERS: Mapping[str, Callable[[_Reader, Sequence[Token]], None]] = {
    "new": _Reader._new,
    "edit": _Reader._edit,
    "more": _Reader._more,
    "m": _Reader._more,
    "~": _Reader._more,
    "select": _Reader._select,
    "batchedit": _Reader._batch_edit,
    "redirect": _Reader._redirect,
    "compile": lambda reader, tokens: reader.run(reader._path(tokens)),
    "buscoords": lambda reader, tokens: reader._coordinates("buscoords", tokens),
    "latlongcoords": lambda reader, tokens: reader._coordinates("latlongcoords", tokens),
    "set": _Reader._set,
    "solve": _Reader._solve,
    "reset": _Reader._reset,
    "var": _Reader._variables,
    "enable": lambda reader, tokens: reader._switch("enable", tokens, 0),
    "disable": lambda reader, tokens: reader._switch("disable", tokens, 0),
    "open": lambda reader, tokens: reader._switch("open", tokens, 2),
    "close": lambda reader, tokens: reader._switch("close", tokens, 2),
    "setkvbase": lambda reader, tokens: reader._bus("setkvbase", ("bus", "kvll", "kvln"), tokens),
    "setbusxy": lambda reader, tokens: reader._bus("setbusxy", ("bus", "x", "y"), tokens),
}
