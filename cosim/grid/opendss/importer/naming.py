"""Names and places: what OpenDSS calls a bus, a node or an element, in our words; and the list of omissions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OUT_OF_SERVICE = "out of service (enabled=no)"
"""Why an element is missing that the script itself takes out."""
NODE_PHASE = {1: "a", 2: "b", 3: "c"}
NODE_HALF = {1: "1", 2: "2"}
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class Omission:
    """Something of the original circuit that our tables do not say as it was.

    Attributes:
        element: ``class.name`` in OpenDSS.
        kind: ``dropped`` (it is missing), ``approximated`` (something near it is there), ``control`` (what it
            did in the solved circuit stays, it acts no more) or ``skipped`` (a line that was not carried out).
        reason: why, in a sentence.
    """

    element: str
    kind: str
    reason: str


@dataclass(slots=True)
class Omissions:
    """Omissions as they are met."""

    rows: list[Omission] = field(default_factory=list)

    def dropped(self, element: str, reason: str) -> None:
        self.rows.append(Omission(element, "dropped", reason))

    def approximated(self, element: str, reason: str) -> None:
        self.rows.append(Omission(element, "approximated", reason))

    def skipped(self, element: str, reason: str) -> None:
        self.rows.append(Omission(element, "skipped", reason))

    def control(self, element: str, reason: str) -> None:
        self.rows.append(Omission(element, "control", reason))


@dataclass(slots=True)
class Names:
    """Names that are unique in their table whatever their case, with only letters, digits, ``_`` and ``-``."""

    taken: set[str] = field(default_factory=set)

    def new(self, wanted: str) -> str:
        """The wanted name, or the nearest that is free and allowed."""
        plain = name = NOT_IN_NAMES.sub("_", wanted) or "_"
        number = 2
        while name.lower() in self.taken:
            name, number = f"{plain}-{number}", number + 1
        self.taken.add(name.lower())
        return name


def bus_and_nodes(text: str, default: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """Bus and nodes of a connection such as ``799.1.2``; nodes that are not written are the default's."""
    bus, *written = text.lower().split(".")
    nodes = [int(n) for n in written if n][: len(default)]
    return bus, (*nodes, *default[len(nodes) :])


def member_of(first: int, second: int, split: bool) -> str | None:
    """Phase or leg between two nodes, None where our tables have none (a node that is no phase, or a short)."""
    letter = NODE_HALF if split else NODE_PHASE
    known = [letter.get(n) for n in (first, second) if n != 0]
    if not known or None in known or len(set(known)) != len(known):
        return None
    text = "".join(x for x in known if x)
    return {"ba": "ab", "cb": "bc", "ac": "ca", "21": "12"}.get(text, text)


def in_order(phases: Iterable[str]) -> str:
    """Phases in the order a, b, c (or 1, 2)."""
    return "".join(sorted(phases))


def in_series(p: Mapping[str, Any]) -> bool:
    """Whether a capacitor or reactor lies between two buses rather than at one."""
    if not p["Bus2"]:
        return False
    n = int(p["Phases"])
    here, _ = bus_and_nodes(p["Bus1"], range(1, n + 1))
    there, nodes = bus_and_nodes(p["Bus2"], range(1, n + 1))
    return here != there and set(nodes) != {0}


def listed(value: Any) -> list[Any]:
    """A property that OpenDSS may give as one value or as a list, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value]
