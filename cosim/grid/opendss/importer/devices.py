"""Loads, capacitors and generation of an OpenDSS circuit, one row for each phase or leg."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cosim.constants import KILO
from cosim.grid.feeder.feeder import BY_EXPONENTS, LOAD_EXPONENTS, Bus, Capacitor, Generator, Load
from cosim.grid.opendss.importer.load_laws import MODELS, Term, terms_at
from cosim.grid.opendss.importer.naming import (
    OUT_OF_SERVICE,
    Names,
    Omissions,
    bus_and_nodes,
    in_series,
    listed,
    member_of,
)
from cosim.grid.opendss.importer.reading import Properties, RawCircuit
from cosim.grid.opendss.importer.tree import Tree

ZIP_MODELS = {exponent: model for model, exponent in LOAD_EXPONENTS.items()}
"""Load model by the exponent of voltage."""
FIXED_REACTIVE = (6, 7)
"""Models of OpenDSS whose reactive power no load multiplier changes."""
RANGE_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Place:
    """One phase or leg that a device lies across, and its nominal voltage there (kV)."""

    bus: str
    connection: str
    member: str
    nodes: tuple[int, int]
    kv: float


@dataclass(slots=True)
class Devices:
    """What has been converted so far; ``buses`` holds ours by the original name."""

    raw: RawCircuit
    tree: Tree
    omissions: Omissions
    buses: Mapping[str, Bus]
    source: str
    loads: list[Load] = field(default_factory=list)
    capacitors: list[Capacitor] = field(default_factory=list)
    generators: list[Generator] = field(default_factory=list)
    names: dict[str, Names] = field(default_factory=dict)
    switched: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add_all(self) -> None:
        """Convert every load, capacitor, shunt reactor, generator, PV system and storage."""
        for name, p in self._in_service("load"):
            self._add_load(name, p)
        for name, p in self._in_service("capacitor"):
            self._add_capacitor(name, p)
        for name, p in self._in_service("reactor"):
            self._add_reactor(name, p)
        for kind, ours in (("generator", "generator"), ("pvsystem", "pv"), ("storage", "storage")):
            for name, p in self._in_service(kind):
                self._add_generator(kind, ours, name, p)

    def _in_service(self, kind: str) -> Iterator[tuple[str, Properties]]:
        for name, p in self.raw.of(kind).items():
            if p["Enabled"]:
                yield name, p
            elif kind != "reactor":
                self.omissions.dropped(f"{kind}.{name}", OUT_OF_SERVICE)

    def places(self, element: str, p: Properties) -> list[Place]:
        """Where a device lies; empty, and listed, where our tables have no such place."""
        bus_name, pairs = device_nodes(p)
        bus = self.buses.get(bus_name)
        if bus is None:
            self.omissions.dropped(element, f"bus {bus_name} is not in the tree")
            return []
        found = []
        for first, second in pairs:
            member = member_of(first, second, bus.split)
            if member is None:
                self.omissions.dropped(element, f"it lies between nodes {first} and {second} of bus {bus_name}")
                return []
            if not set(member) <= set(bus.phases):
                self.omissions.dropped(element, f"no branch brings phase {member} to bus {bus_name}")
                return []
            if len(member) == 1 and not bus.grounded:
                self.omissions.dropped(element, f"it needs a neutral, and bus {bus_name} has none")
                return []
            nominal = bus.kv_neutral if len(member) == 1 else bus.kv_base
            connection = "wye" if len(member) == 1 else "delta"
            found.append(Place(bus.name, connection, member, (first, second), nominal))
        return found

    def _name(self, kind: str, name: str, *parts: str) -> str:
        return self.names.setdefault(kind, Names()).new("-".join((name, *(part for part in parts if part))))

    # -- loads ------------------------------------------------------------------------------------------------

    def _add_load(self, name: str, p: Properties) -> None:
        element = f"load.{name}"
        if int(p["Model"]) not in MODELS:
            self.omissions.dropped(element, f"load model {p['Model']}")
            return
        places = self.places(element, p)
        varies = str(p["Status"]).lower() == "variable"
        if places and not varies:
            self.omissions.approximated(element, f"its status is {p['Status']}; here it follows the load scale too")
        elif places and int(p["Model"]) in FIXED_REACTIVE and float(p["kvar"]):
            self.omissions.approximated(element, "its reactive power is fixed; here it follows the load scale too")
        power = complex(float(p["kW"]), float(p["kvar"])) / max(len(places), 1)
        for place in places:
            rated = rated_kv(p)
            terms, kept = self._terms(element, p, place, power)
            scale = {True: self.raw.load_scale if varies else 1.0, False: 1.0}
            # to our nominal voltage: power at that voltage grows with the exponent
            here = [(t.power * scale[t.scaled] * (place.kv / rated) ** t.exponent, t.exponent) for t in terms]
            rows = _rows(here)
            for model, (at_nominal, *exponents) in rows.items():
                self.loads.append(
                    Load(
                        self._name("load", name, place.member if len(places) > 1 else "",
                                   model if len(rows) > 1 else ""),
                        place.bus, place.connection, place.member, model, at_nominal.real, at_nominal.imag,
                        f"{self.source}: {element}", *_range(p, rated / place.kv, model, kept), *exponents,
                    )
                )  # fmt: skip

    def _terms(self, element: str, p: Properties, place: Place, power: complex) -> tuple[list[Term], bool]:
        """A load as it acts at the solved voltage, and whether it keeps its model there."""
        bus = bus_and_nodes(p["Bus1"], (1,))[0]
        v = [self.raw.volts.get((bus, n), 0j) for n in place.nodes]
        actual = abs(v[0] - v[1]) / KILO / rated_kv(p)
        low, high = float(p["VMinpu"]), float(p["VMaxpu"])
        terms, kept = terms_at(p, power, actual or (low + high) / 2)
        if not kept:
            self.omissions.approximated(
                element,
                f"at {actual:.3f} pu, outside {low:g} to {high:g}, OpenDSS takes it as an impedance (just below with a "
                "current beside it), and so do we",
            )
        return terms, kept

    # -- shunts -----------------------------------------------------------------------------------------------

    def _add_capacitor(self, name: str, p: Properties) -> None:
        element = f"capacitor.{name}"
        if in_series(p):
            return  # in series: listed with the branches
        if any(float(x) for x in listed(p["R"])) or any(float(x) for x in listed(p["XL"])):
            self.omissions.approximated(element, "its series resistance or reactor is left out")
        each, states = [float(k) for k in listed(p["kvar"])], [int(s) for s in listed(p["States"])]
        kvar = sum(k * s for k, s in zip(each, states, strict=False))
        places = self.places(element, p)
        if places and name in self._controlled() and len(set(each)) == 1 and len(each) == len(states):
            for place in places:
                value = sum(each) / len(places) * (place.kv / rated_kv(p)) ** 2
                self._add_shunt(name, place, value, len(places), element, len(states), sum(states))
            self.switched[name] = tuple(c.name for c in self.capacitors[-len(places) :])
            return
        if places and kvar == 0:
            self.omissions.control(element, "switched off in the solved circuit")
            return
        for place in places:
            value = kvar / len(places) * (place.kv / rated_kv(p)) ** 2
            self._add_shunt(name, place, value, len(places), element)

    def _add_reactor(self, name: str, p: Properties) -> None:
        element = f"reactor.{name}"
        if in_series(p):
            return  # in series: a line
        if float(p["R"]) or not float(p["X"]):
            self.omissions.dropped(element, "a shunt reactor with resistance")
            return
        places = self.places(element, p)
        for place in places:
            self._add_shunt(name, place, -(place.kv**2) * 1000 / float(p["X"]), len(places), element)

    def _controlled(self) -> set[str]:
        """Capacitors that a control in service switches."""
        return {str(p["Capacitor"]).lower() for p in self.raw.of("capcontrol").values() if p["Enabled"]}

    def _add_shunt(
        self, name: str, place: Place, kvar: float, count: int, element: str, steps: int = 1, steps_on: int = 1
    ) -> None:
        own = self._name("capacitor", name, place.member if count > 1 else "")
        origin = f"{self.source}: {element}"
        self.capacitors.append(
            Capacitor(own, place.bus, place.connection, place.member, kvar, origin, steps, steps_on)
        )

    # -- generation -------------------------------------------------------------------------------------------

    def _add_generator(self, kind: str, ours: str, name: str, p: Properties) -> None:
        element = f"{kind}.{name}"
        if int(p["Model"]) != 1:
            self.omissions.approximated(element, f"model {p['Model']}: it keeps the power of the solved circuit")
        places = self.places(element, p)
        power = self.raw.powers[element] / max(len(places), 1)
        for place in places:
            own = self._name("generator", name, place.member if len(places) > 1 else "")
            self.generators.append(
                Generator(own, place.bus, place.connection, place.member, ours, power.real, power.imag,
                          f"{self.source}: {element}")
            )


def device_nodes(p: Properties) -> tuple[str, list[tuple[int, int]]]:
    """Bus of a device and the pairs of nodes that it lies across (0 is the ground).

    A conductor beyond the phases whose node is not written lies on the ground, also in delta: ``bus1=832.1 phases=1
    conn=delta`` is node 1 to ground, as OpenDSS has it.
    """
    n = int(p["Phases"])
    delta = _in_delta(p)
    default = [*range(1, n + 1), *([] if delta and n == 3 else [0])]
    bus, nodes = bus_and_nodes(p["Bus1"], default)
    if not delta and "Bus2" in p and p["Bus2"]:
        other, second = bus_and_nodes(p["Bus2"], [0] * n)
        if other == bus:
            return bus, list(zip(nodes[:n], second, strict=False))
    if delta and n == 3:
        return bus, [(nodes[0], nodes[1]), (nodes[1], nodes[2]), (nodes[2], nodes[0])]
    if delta:
        return bus, list(zip(nodes[:n], nodes[1:], strict=False))
    return bus, [(node, nodes[n]) for node in nodes[:n]]


def neutral_users(raw: RawCircuit) -> dict[str, list[str]]:
    """Devices with a phase to ground, by bus."""
    found: dict[str, list[str]] = {}
    for kind in ("load", "capacitor", "generator", "pvsystem", "storage"):
        for name, p in raw.of(kind).items():
            bus, pairs = device_nodes(p)
            if p["Enabled"] and any(0 in pair for pair in pairs):
                found.setdefault(bus, []).append(f"{kind}.{name}")
    return found


def devices_at(raw: RawCircuit) -> dict[str, list[str]]:
    """Every device in service, by bus."""
    found: dict[str, list[str]] = {}
    for kind in ("load", "capacitor", "generator", "pvsystem", "storage"):
        for name, p in raw.of(kind).items():
            if p["Enabled"]:
                found.setdefault(device_nodes(p)[0], []).append(f"{kind}.{name}")
    return found


def rated_kv(p: Properties) -> float:
    """Rated voltage across the member: devices of several phases are rated line to line."""
    kv = float(p["kV"])
    return kv if int(p["Phases"]) == 1 or _in_delta(p) else kv / 3**0.5


def _range(p: Properties, scale: float, model: str, kept: bool) -> tuple[float | None, float | None]:
    """Voltages between which OpenDSS keeps a load's model, per unit of ours; none for an impedance, as it stays one."""
    if model == "Z" or not kept:
        return None, None
    return round(float(p["VMinpu"]) * scale, RANGE_DIGITS), round(float(p["VMaxpu"]) * scale, RANGE_DIGITS)


def _in_delta(p: Properties) -> bool:
    return str(p["Conn"]).lower() in ("delta", "ll")


def _rows(terms: Sequence[tuple[complex, float]]) -> dict[str, tuple[complex] | tuple[complex, float, float]]:
    """Terms (power, exponent) as rows by load model; P and Q by exponents of their own are one row."""
    found: dict[str, tuple[complex] | tuple[complex, float, float]] = {}
    if any(exponent not in ZIP_MODELS for _, exponent in terms):
        by_p, by_q = (next((k for s, k in terms if part(s)), 0.0) for part in (_active, _reactive))
        return {BY_EXPONENTS: (sum((s for s, _ in terms), 0j), by_p, by_q)}
    for power, exponent in terms:
        model = ZIP_MODELS[exponent]
        found[model] = (found.get(model, (0j,))[0] + power,)
    return found


def _active(power: complex) -> float:
    return power.real


def _reactive(power: complex) -> float:
    return power.imag
