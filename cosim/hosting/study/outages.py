"""Contingencies and switching states as a user writes them: a YAML file, or a line of words for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cosim.errors import InputError
from cosim.grid.feeder.feeder import Feeder
from cosim.hosting.cases import Case, Tie
from cosim.hosting.study.schemas import ALL_CASES
from cosim.hosting.switching import single_outages
from cosim.scenario.loading import validated
from cosim.scenario.types import BusName, Positive, Section
from cosim.yaml_reading import read_yaml

BASE = "base"
EVERY_LINE = "all"
_NAME = r"(\S+)"
_WORDS: dict[str, str] = {
    rf"regulator {_NAME} at tap ([+-]?\d+)": "tap",
    rf"regulator {_NAME} held": "held",
    rf"capacitor {_NAME} off": "capacitor",
    rf"line {_NAME} out": "line",
    rf"tie {_NAME} to {_NAME} of ([^\s,]+),? ([\d.]+) ft(?:,? ([\d.]+) A)?": "tie",
}
ALLOWED = ("'regulator R at tap N', 'regulator R held', 'capacitor C off', 'line L out', "
           "'tie A to B of CODE, N ft', joined by ' + '")  # fmt: skip
Label = Annotated[str, Field(min_length=1, max_length=100)]


class TieSpec(Section):
    """A line that is closed: between two buses, of a line code of the feeder."""

    from_bus: BusName
    to_bus: BusName
    code: BusName
    length_ft: Positive
    phases: str = "abc"
    amps: Positive | None = None


class OutageSpec(Section):
    """A case: taps of regulators by ``REGULATOR`` or ``REGULATOR.UNIT``, regulators that stand still (``held``),
    capacitors and lines out of service, ties that are closed."""

    name: Label
    taps: dict[str, int] = Field(default_factory=dict)
    held: tuple[BusName, ...] = ()
    capacitors_off: tuple[BusName, ...] = ()
    lines_out: tuple[BusName, ...] = ()
    ties: tuple[TieSpec, ...] = ()


def cases_of(
    feeder: Feeder, outages: Iterable[str | Mapping[str, Any] | Case | Path], lines_out: Sequence[str]
) -> tuple[Case, ...]:
    """The base case, and what was asked for besides.

    Args:
        outages: each a line of words, a mapping with the keys of :class:`OutageSpec`, a case, or a YAML file with a
            list ``outages`` of these, and perhaps ``lines_out``.
        lines_out: lines that are taken out one by one; ``all`` means every line of the feeder.

    Raises:
        InputError: words that mean nothing, keys that are not there, or a name that stands twice.
    """
    found = [Case(BASE)]
    singles = list(lines_out)
    for outage in outages:
        if isinstance(outage, Path) or (isinstance(outage, str) and outage.lower().endswith((".yaml", ".yml"))):
            listed, lines = _of_file(Path(outage))
            found += listed
            singles += lines
        else:
            found.append(_case(outage, "contingency"))
    if EVERY_LINE in singles:
        singles = [line.name for line in feeder.lines]
    found += single_outages(feeder, dict.fromkeys(singles))
    found = [replace(case, capacitors_off=_banks(feeder, case.capacitors_off)) for case in found]
    names = [case.name for case in found]
    for name in names:
        if names.count(name) > 1 or name == ALL_CASES:
            raise InputError(
                "a case needs a name of its own", key="contingency", value=name,
                allowed=f"names that differ from each other and from {BASE} and {ALL_CASES}",
            )  # fmt: skip
    return tuple(found)


def _banks(feeder: Feeder, names: Sequence[str]) -> tuple[str, ...]:
    """Capacitors by name; a bank whose phases are capacitors of their own, as ``NAME-a``, stands for all of them."""
    known = {c.name: c.name.rsplit("-", 1)[0] for c in feeder.capacitors}
    found = [[name] if name in known else [c for c, bank in known.items() if bank == name] or [name] for name in names]
    return tuple(dict.fromkeys(capacitor for several in found for capacitor in several))


def _of_file(path: Path) -> tuple[list[Case], list[str]]:
    """Cases of a file, and the lines that it takes out one by one."""
    data = read_yaml(path, "a list of outages")
    if unknown := sorted(set(data) - {"outages", "lines_out"}):
        raise InputError("unknown key", file=path, key=unknown[0], allowed="outages, lines_out")
    outages, lines = data.get("outages", []), data.get("lines_out", [])
    lines = [lines] if isinstance(lines, str) else lines
    for key, value in (("outages", outages), ("lines_out", lines)):
        if not isinstance(value, list):
            raise InputError("not a list", file=path, key=key, value=value)
    try:
        return [_case(one, f"outages.{i}") for i, one in enumerate(outages)], [str(line) for line in lines]
    except InputError as error:
        raise error.changed(file=path) from None


def _case(outage: str | Mapping[str, Any] | Case, key: str) -> Case:
    if isinstance(outage, Case):
        return outage
    if isinstance(outage, str):
        return _of_words(outage, key)
    if not isinstance(outage, Mapping):
        raise InputError("not an outage", key=key, value=outage, allowed=ALLOWED + "; or keys name, taps, ...")
    spec = validated(OutageSpec, outage, key)
    ties = tuple(Tie(**tie.model_dump()) for tie in spec.ties)
    return Case(spec.name, dict(spec.taps), spec.held, spec.capacitors_off, spec.lines_out, ties)


def _of_words(text: str, key: str) -> Case:
    """A case from a line of words, which is its name as well; ``NAME: words`` gives another one."""
    name, colon, rest = text.partition(": ")
    words = rest if colon else text
    taps: dict[str, int] = {}
    lists: dict[str, list[str]] = {"held": [], "capacitor": [], "line": []}
    ties: list[Tie] = []
    for part in words.split(" + "):
        kind, found = _meaning(part.strip(), key)
        if kind == "tap":
            taps[found[0]] = int(found[1])
        elif kind == "tie":
            ties.append(Tie(found[0], found[1], found[2], float(found[3]), amps=float(found[4]) if found[4] else None))
        else:
            lists[kind].append(found[0])
    return Case(name.strip() if colon else text.strip(), taps, tuple(lists["held"]), tuple(lists["capacitor"]),
                tuple(lists["line"]), tuple(ties))  # fmt: skip


def _meaning(part: str, key: str) -> tuple[str, tuple[str, ...]]:
    for pattern, kind in _WORDS.items():
        if match := re.fullmatch(pattern, part):
            return kind, match.groups()
    raise InputError("not an outage", key=key, value=part, allowed=ALLOWED)


def in_words(case: Case) -> str:
    """What a case changes."""
    parts = [f"regulator {name} at tap {tap}" for name, tap in case.taps.items()]
    parts += [f"regulator {name} held" for name in case.held]
    parts += [f"capacitor {name} off" for name in case.capacitors_off]
    parts += [f"line {name} out" for name in case.lines_out]
    for tie in case.ties:
        amps = "" if tie.amps is None else f", {tie.amps:g} A"
        parts.append(f"tie {tie.from_bus} to {tie.to_bus} of {tie.code}, {tie.length_ft:g} ft{amps}")
    return " + ".join(parts) or "nothing"
