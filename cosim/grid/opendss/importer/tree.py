"""The tree that the lines and transformers of an OpenDSS circuit form, and what feeds each of its sections."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cosim.errors import InputError
from cosim.grid.opendss.importer.naming import NODE_PHASE, OUT_OF_SERVICE, Omissions, bus_and_nodes, in_series, listed
from cosim.grid.opendss.importer.reading import Properties, RawCircuit
from cosim.grid.opendss.importer.values import MOST_NODES

AS_IT_IS = "network: {dss: FILE} runs on any circuit as it is"
JUMPER_OHM = 0.05
"""A single-phase line beside an open delta that has less than this is its through conductor."""


@dataclass(frozen=True, slots=True)
class End:
    """One side of a branch: a bus, and the nodes of its conductors or windings (neutral included).

    Attributes:
        floating: the neutral is a node that touches nothing else; in ``nodes`` it is 0.
    """

    bus: str
    nodes: tuple[int, ...]
    floating: bool = False


@dataclass(frozen=True, slots=True)
class RawBranch:
    """A line, series reactor or transformer. ``ends`` has one entry a terminal or winding."""

    kind: str
    name: str
    ends: tuple[End, ...]
    properties: Properties

    @property
    def element(self) -> str:
        return f"{self.kind}.{self.name}"

    @property
    def buses(self) -> tuple[str, str]:
        """Its two buses, the windings of a centre-tapped secondary taken together."""
        return self.ends[0].bus, self.ends[-1].bus


@dataclass(slots=True)
class Section:
    """Buses joined by lines; transformers divide sections.

    Attributes:
        grounded: a neutral is present and used. split: behind a centre-tapped winding.
        fed_by: ``source``, or the connection of the winding that feeds it.
    """

    fed_by: str
    grounded: bool
    split: bool
    buses: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tree:
    """Groups of parallel branches from the source outwards: (upper bus, lower bus, branches)."""

    source: str
    groups: list[tuple[str, str, tuple[RawBranch, ...]]]
    section: dict[str, Section]


def raw_branches(raw: RawCircuit, omissions: Omissions) -> list[RawBranch]:
    """Every branch that may carry power, with those that our tables cannot say listed."""
    found = []
    neutrals = _floating_neutrals(raw)
    for kind in ("line", "reactor", "transformer"):
        for name, p in raw.of(kind).items():
            element = f"{kind}.{name}"
            if not p["Enabled"]:
                omissions.dropped(element, OUT_OF_SERVICE)
                continue
            ends = tuple(_with_neutral(end, neutrals) for end in _ends(kind, p))
            if kind == "reactor" and not in_series(p):
                continue  # a shunt: see devices
            branch = RawBranch(kind, name, ends, p)
            reason = _unsuited(branch, raw.open_conductors.get(element, frozenset()))
            if reason is None:
                found.append(branch)
            else:
                omissions.dropped(element, reason)
    for name, p in raw.of("capacitor").items():
        if in_series(p):
            omissions.dropped(f"capacitor.{name}", "a series capacitor")
    return found


def _ends(kind: str, p: Properties) -> tuple[End, ...]:
    n = int(p["Phases"])
    if kind != "transformer":
        one = End(*bus_and_nodes(p["Bus1"], range(1, n + 1)))
        if kind == "reactor" and not p["Bus2"]:
            return one, End(one.bus, (0,) * n)
        return one, End(*bus_and_nodes(p["Bus2"], range(1, n + 1)))
    ends = []
    for text, connection in zip(listed(p["Buses"]), listed(p["Conns"]), strict=True):
        delta = str(connection).lower() in ("delta", "ll")
        default = [*range(1, n + 1), *([] if delta and n == 3 else [n + 1] if delta else [0])]
        ends.append(End(*bus_and_nodes(text, default)))
    return tuple(ends)


def _floating_neutrals(raw: RawCircuit) -> frozenset[tuple[str, int]]:
    """Nodes (bus, number) that are the neutral of one three-phase wye winding, or of those of three single-phase
    transformers side by side, and touch nothing else."""
    used: dict[tuple[str, int], list[str]] = {}
    banks: dict[tuple[str, int], set[tuple[str, ...]]] = {}
    for kind, elements in raw.elements.items():
        for name, p in elements.items():
            if not p.get("Enabled", True):
                continue
            ends = list(_ends(kind, p)) if kind in ("line", "reactor", "transformer") else []
            texts = [text for key, value in p.items() if key.startswith("Bus") for text in listed(value) if text]
            ends += [End(*bus_and_nodes(str(text), (0,) * MOST_NODES)) for text in texts if kind != "transformer"]
            touched = {(end.bus, node) for end in ends for node in end.nodes if node > len(NODE_PHASE)}
            for place in touched:
                used.setdefault(place, []).append(f"{kind}.{name}")
            if kind == "transformer":
                for end, connection in zip(ends, listed(p["Conns"]), strict=True):
                    if str(connection).lower() in ("wye", "ln") and touched & {(end.bus, end.nodes[-1])}:
                        at = banks.setdefault((end.bus, end.nodes[-1]), set())
                        at.add((str(p["Phases"]), *(e.bus for e in ends)))
    earthed = {
        (end.bus, end.nodes[-1])
        for p in raw.of("transformer").values()
        for end, r in zip(_ends("transformer", p), listed(p.get("RNeut", -1.0)), strict=False)
        if float(r) >= 0
    }
    return frozenset(
        place
        for place, kinds in banks.items()
        if place not in earthed and len(kinds) == 1 and len(used[place]) == (1 if next(iter(kinds))[0] == "3" else 3)
    )


def _with_neutral(end: End, neutrals: frozenset[tuple[str, int]]) -> End:
    """The end with a floating neutral as 0, and said to float."""
    if (end.bus, end.nodes[-1]) not in neutrals:
        return end
    return End(end.bus, (*end.nodes[:-1], 0), floating=True)


def _unsuited(branch: RawBranch, open_conductors: frozenset[int]) -> str | None:
    """Why a branch cannot be in the tables; None if it can."""
    phases = int(branch.properties["Phases"])
    if open_conductors:
        some = "" if len(open_conductors) >= phases else " in some of its phases"
        return f"open{some}"
    if branch.buses[0] == branch.buses[1]:
        return "both ends are one bus"
    if branch.kind != "transformer":
        nodes = branch.ends[0].nodes
        if nodes != branch.ends[1].nodes:
            return "its conductors change phase between its ends"
        if not set(nodes) <= {1, 2, 3} or len(set(nodes)) != len(nodes):
            return "a conductor of its own for the neutral or the ground (reduce it to the phases)"
        return None
    windings = len(branch.ends)
    if windings == 3 and phases == 1 and branch.ends[1].bus == branch.ends[2].bus:
        halves = (branch.ends[1].nodes, branch.ends[2].nodes)
        return None if halves == ((1, 0), (0, 2)) else "a centre tap that is not wired 1.0 and 0.2"
    if windings != 2:
        return f"{windings} windings (two, or a centre-tapped single phase, are represented)"
    if phases not in (1, 3):
        return f"{phases} phases (1 and 3 are represented)"
    if any(not set(end.nodes) <= {0, 1, 2, 3} for end in branch.ends):
        return "a neutral that is not solidly grounded"
    if phases == 3:
        if any(end.nodes[:3] != (1, 2, 3) for end in branch.ends):
            return "a three-phase winding in another order than 1.2.3"
        if any(set(end.nodes[3:]) - {0} for end in branch.ends):
            return "a neutral that is not solidly grounded"
    return None


def merged(group: Sequence[RawBranch]) -> list[RawBranch]:
    """Three-phase transformers side by side as one, their admittances together, where one can be: two windings each, of
    the same voltages, taps and connections, so that no current circulates. Otherwise the group as it is."""
    alike = ("Phases", "Conns", "kVs", "Taps", "LeadLag")
    first = group[0]
    if len(first.ends) != 2 or any(
        b.ends != first.ends or any(b.properties[k] != first.properties[k] for k in alike) for b in group
    ):
        return list(group)
    kva = [float(listed(b.properties["kVAs"])[0]) for b in group]
    total = sum(kva)
    z = [complex(resistance_percent(b)[0], float(b.properties["XHL"])) for b in group]
    together = total / sum(s / each for s, each in zip(kva, z, strict=True))

    def mean(key: str) -> float:
        return sum(s * float(b.properties[key]) for s, b in zip(kva, group, strict=True)) / total

    p = {
        **first.properties, "kVAs": [total, total], "pctRs": [together.real / 2] * 2, "XHL": together.imag,
        "pctNoLoadLoss": mean("pctNoLoadLoss"), "pctIMag": mean("pctIMag"), "Bank": "",
    }  # fmt: skip
    return [RawBranch(first.kind, "+".join(b.name for b in group), first.ends, p)]


def resistance_percent(branch: RawBranch) -> tuple[float, float]:
    """Resistance of all windings on the way, and of the last one, percent on the first one's rating."""
    p = branch.properties
    kva = [float(k) for k in listed(p["kVAs"])]
    r = [float(x) * kva[0] / k for x, k in zip(listed(p["pctRs"]), kva, strict=True)]
    low = sum(r[1:]) / len(r[1:])
    return r[0] + low, low if len(r) == 3 else 0.0


def grow(
    raw: RawCircuit, source: str, branches: Sequence[RawBranch], omissions: Omissions, used: Mapping[str, Sequence[str]]
) -> Tree:
    """Walk from the source; parallel branches between two buses are one group.

    Args:
        used: what hangs on each bus, by bus, to name what an island would lose.

    Raises:
        InputError: a loop, or an island.
    """
    between: dict[frozenset[str], list[RawBranch]] = {}
    for branch in branches:
        between.setdefault(frozenset(branch.buses), []).append(branch)
    at: dict[str, list[tuple[str, list[RawBranch]]]] = {}
    for pair, group in between.items():
        one, other = sorted(pair)
        at.setdefault(one, []).append((other, group))
        at.setdefault(other, []).append((one, group))
    tree, reached, queue = Tree(source, [], {}), {source: ""}, deque([source])
    while queue:
        here = queue.popleft()
        for there, group in at.get(here, []):
            if there == reached[here]:
                continue
            if there in reached:
                names = ", ".join(b.element for b in group)
                raise InputError(
                    f"the circuit is not radial: {names} closes a loop at bus {there}", file=raw.file,
                    key=group[0].element, value=f"{here} - {there}",
                    allowed=f"a radial circuit, switches of ties open; {AS_IT_IS}",
                )  # fmt: skip
            reached[there] = here
            tree.groups.append((here, there, tuple(group)))
            queue.append(there)
    lost = {bus: [*used.get(bus, ()), *(b.element for _, g in at.get(bus, ()) for b in g)] for bus in raw.kv}
    for bus in raw.kv:
        if bus in reached:
            continue
        if lost[bus]:
            touching = [o for o in omissions.rows if o.kind == "dropped" and _touches(raw, o.element, bus)]
            why = "".join(f"; {o.element} is not represented: {o.reason}" for o in touching[:3])
            raise InputError(
                f"bus {bus} is an island: nothing feeds {', '.join(lost[bus][:4])}{why}", file=raw.file,
                key=f"bus.{bus}", value=bus, allowed=f"a path of branches from the source at {source}; {AS_IT_IS}",
            )  # fmt: skip
        omissions.dropped(f"bus.{bus}", "an island on which nothing hangs")
    return tree


def _touches(raw: RawCircuit, element: str, bus: str) -> bool:
    kind, _, name = element.partition(".")
    p = raw.of(kind).get(name, {})
    texts = [*listed(p.get("Buses") or []), p.get("Bus1"), p.get("Bus2")]
    return any(text and text.lower().split(".")[0] == bus for text in texts)
