"""Lines, reactors and transformers of an OpenDSS circuit as lines, transformers and regulators of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError
from cosim.grid.feeder.check import REGULATOR_UNITS
from cosim.grid.feeder.feeder import (
    FEET_PER_MILE,
    PLACE,
    TAP_LIMIT,
    TAP_STEP,
    UNGROUNDED,
    Line,
    LineCode,
    Matrix,
    Regulator,
    Transformer,
)
from cosim.grid.opendss.importer.naming import NODE_HALF, NODE_PHASE, Names, Omissions, in_order, listed, member_of
from cosim.grid.opendss.importer.reading import RawCircuit
from cosim.grid.opendss.importer.sections import connections
from cosim.grid.opendss.importer.tree import AS_IT_IS, JUMPER_OHM, RawBranch, Tree, merged, resistance_percent

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
Index = NDArray[np.intp]
LENGTHS_PER_MILE = {
    "mi": 1.0, "kft": 5.28, "km": 1.609344, "m": 1609.344, "ft": 5280.0, "in": 63360.0, "cm": 160934.4,
    "mm": 1609344.0, "none": 5.28,
}  # fmt: skip
"""A length without a unit is taken as thousands of feet; only its product with the matrices matters."""
DIGITS = 12
UNSTATED_AMPS = 400.0
"""What OpenDSS gives a line of which nothing is said."""
NO_IMPEDANCE = 1e-9
"""Reactance of a switch without any, ohm."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of a branch of OpenDSS.

    Attributes:
        name: of our branch. turned: our ``from_bus`` is not its first terminal.
        conductors: phases of its conductors in OpenDSS's order; units: of a regulator, those that it is.
    """

    name: str
    turned: bool
    conductors: str
    units: tuple[str, ...] = ()


@dataclass(slots=True)
class Branches:
    """What has been converted so far."""

    raw: RawCircuit
    tree: Tree
    omissions: Omissions
    bus_name: Mapping[str, str]
    source: str
    names: Names = field(default_factory=Names)
    code_names: Names = field(default_factory=Names)
    codes: dict[tuple[str, bytes], LineCode] = field(default_factory=dict)
    known_codes: dict[object, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    transformers: list[Transformer] = field(default_factory=list)
    regulators: list[Regulator] = field(default_factory=list)
    phases: dict[str, str] = field(default_factory=dict)
    regulated: frozenset[str] = frozenset()
    converted: dict[str, Converted] = field(default_factory=dict)

    def add(self, upper: str, lower: str, group: Sequence[RawBranch]) -> None:
        """Convert one group of parallel branches.

        Raises:
            InputError: branches that close a loop, or that our equations cannot carry.
        """
        transformers = [b for b in group if b.kind == "transformer"]
        lines = [b for b in group if b.kind != "transformer"]
        if not transformers:
            self._add_lines(upper, lower, lines)
            return
        kinds = {connections(b, upper) for b in transformers}
        beside = [b for b in lines if not _is_jumper(b) or kinds != {("delta", "delta")}]
        if len(transformers) > 1 and any(_phases(b) == 3 for b in transformers):
            transformers = merged(transformers)
        if beside or len(kinds) > 1 or (len(transformers) > 1 and any(_phases(b) == 3 for b in transformers)):
            raise self._refusal(group[0], f"{', '.join(b.element for b in group)} lie in parallel and close a loop")
        self._add_bank(upper, lower, transformers)

    def _refusal(self, branch: RawBranch, message: str) -> InputError:
        return InputError(
            message, file=self.raw.file, key=branch.element, value=" - ".join(branch.buses),
            allowed=f"a radial circuit of lines, reactors, transformers and regulators; {AS_IT_IS}",
        )  # fmt: skip

    def _from(self, group: Sequence[RawBranch]) -> str:
        return f"{self.source}: {', '.join(b.element for b in group)}"

    # -- lines ------------------------------------------------------------------------------------------------

    def _add_lines(self, upper: str, lower: str, group: Sequence[RawBranch]) -> None:
        section = self.tree.section[lower]
        first = group[0]
        seen = {node for branch in group for node in branch.ends[0].nodes}
        shared = sum(len(branch.ends[0].nodes) for branch in group) > len(seen)
        letters = NODE_HALF if section.split else NODE_PHASE
        if not section.grounded and seen != {1, 2, 3}:
            raise self._refusal(first, f"{first.element} lacks a phase in a section without a neutral")
        if not seen <= set(letters):
            raise self._refusal(first, f"{first.element} has a third conductor behind a centre tap")
        per_mile, length = _length(first) if len(group) == 1 else (1.0, 1.0)
        phases = in_order(letters[n] for n in seen)
        self.phases[lower] = phases
        code = self._code_of(group, phases, per_mile, shared)
        name = self.names.new(first.name)
        for branch in () if shared else group:  # no control can measure one of several that are one line here
            own = "".join(letters[n] for n in branch.ends[0].nodes)
            self.converted[branch.element] = Converted(name, branch.ends[0].bus != upper, own)
        amps = self._amps_together(group) if shared else _amps(group)
        self.lines.append(
            Line(
                name, self.bus_name[upper], self.bus_name[lower], phases,
                round(length / per_mile * FEET_PER_MILE, 9), code, self._from(group), amps,
            )
        )  # fmt: skip

    def _code_of(self, group: Sequence[RawBranch], phases: str, per_mile: float, shared: bool) -> str:
        """Name of the code of a group; thousands of lines share a few dozen constructions, so these are kept.

        Args:
            shared: lines of the group have phases in common: their admittances add up.
        """
        first = group[0]
        p = first.properties
        own = (p[k] for k in ("RMatrix", "XMatrix", "CMatrix", "BaseFreq")) if first.kind == "line" else ()
        key = (phases, first.ends[0].nodes, per_mile, str(list(own))) if first.kind == "line" else None
        if len(group) == 1 and key in self.known_codes:
            return self.known_codes[key]
        r, x, b = self._together(group) if shared else np.zeros((3, 3, 3))
        for branch in () if shared else group:
            places = [n - 1 for n in branch.ends[0].nodes]
            at = np.ix_(places, places)
            r[at], x[at], b[at] = self._matrices(branch, per_mile, whole=len(group) > 1)
        wanted = p.get("LineCode") or p.get("Geometry") or first.name
        name = self._code(str(wanted), phases, r, x, b)
        if len(group) == 1 and key is not None:
            self.known_codes[key] = name
        return name

    def _matrices(self, branch: RawBranch, per_mile: float, whole: bool) -> tuple[Real, Real, Real]:
        """Resistance, reactance (ohm per mile) and susceptance (microsiemens per mile) of its conductors."""
        p = branch.properties
        if branch.kind == "reactor":
            if not p["X"] and not p["R"]:
                self.omissions.approximated(branch.element, "without impedance; 1e-6 ohm stands for it")
            eye = np.eye(_phases(branch))
            return float(p["R"]) * eye, (float(p["X"]) or 1e-6) * eye, 0.0 * eye
        factor = float(p["Length"]) if whole else per_mile
        base_hz, hz = float(p["BaseFreq"]), self.raw.frequency_hz
        r, x, c = (np.array(p[key], dtype=float) * factor for key in ("RMatrix", "XMatrix", "CMatrix"))
        return r, x * hz / base_hz, c * 2 * math.pi * hz * 1e-3

    def _together(self, group: Sequence[RawBranch]) -> tuple[Real, Real, Real]:
        """Resistance, reactance and susceptance of lines in parallel, without coupling between them, as one mile."""
        series, shunt = np.zeros((3, 3), dtype=complex), np.zeros((3, 3))
        for branch in group:
            at, y, b = self._series_admittance(branch)
            series[at] += y
            shunt[at] += b
        places = np.flatnonzero(series.any(axis=0))
        z = np.zeros((3, 3), dtype=complex)
        z[np.ix_(places, places)] = np.linalg.inv(series[np.ix_(places, places)])
        return z.real, z.imag, shunt

    def _series_admittance(self, branch: RawBranch) -> tuple[tuple[Index, ...], Complex, Real]:
        """Places of its conductors, its whole series admittance (S) and susceptance (microsiemens)."""
        r, x, b = self._matrices(branch, 1.0, whole=True)
        z = r + 1j * x + NO_IMPEDANCE * 1j * np.diag(np.diag(r + x) == 0)
        places = [n - 1 for n in branch.ends[0].nodes]
        return np.ix_(places, places), np.asarray(np.linalg.inv(z), dtype=np.complex128), b

    def _amps_together(self, group: Sequence[RawBranch]) -> float | None:
        """Current of lines in parallel at which the first of them carries what it may (A); they share it by their
        admittance."""
        share = [float(np.abs(np.diag(self._series_admittance(b)[1])).mean()) for b in group]
        stated = [(_amps([b]), y) for b, y in zip(group, share, strict=True)]
        return min((a * sum(share) / y for a, y in stated if a is not None), default=None)

    def add_source_impedance(self, z1: complex, z0: complex, ideal: str, source: str) -> None:
        """The impedance of the source as a line between an ideal source and its bus."""
        own, mutual = (2 * z1 + z0) / 3, (z0 - z1) / 3
        z = np.full((3, 3), mutual) + (own - mutual) * np.eye(3)
        self.phases[source] = "abc"
        code = self._code("source", "abc", z.real, z.imag, np.zeros((3, 3)))
        name = self.names.new("source_impedance")
        origin = f"{self.source}: vsource"
        self.lines.append(Line(name, ideal, self.bus_name[source], "abc", FEET_PER_MILE, code, origin))

    def _code(self, wanted: str, phases: str, r: Real, x: Real, b: Real) -> str:
        """Name of the line code with these matrices, made when first met."""
        r, x, b = (_rounded((m + m.T) / 2) for m in (r, x, b))
        for place in (PLACE[phase] for phase in phases):
            if r[place, place] == 0 and x[place, place] == 0:
                x[place, place] = NO_IMPEDANCE
        key = (phases, np.concatenate([r, x, b]).tobytes())
        if key not in self.codes:
            own = wanted if phases == "abc" else f"{wanted}-{phases}"
            name = self.code_names.new(own)
            self.codes[key] = LineCode(name, _matrix(r), _matrix(x), _matrix(b), self.source)
        return self.codes[key].name

    # -- transformers -----------------------------------------------------------------------------------------

    def _add_bank(self, upper: str, lower: str, group: Sequence[RawBranch]) -> None:
        first = group[0]
        high, low = connections(first, upper)
        turned = first.ends[0].bus != upper
        if high == "split":
            raise self._refusal(first, f"{first.element} is fed from its {high} side, which is not represented")
        if self._add_regulator(upper, lower, group, high, low, turned):
            return
        p = first.properties
        kv = [float(v) * float(t) for v, t in zip(listed(p["kVs"]), listed(p["Taps"]), strict=True)]
        kv_high, kv_low = (kv[1], kv[0]) if turned else (kv[0], kv[1])
        kv_rated = [float(v) for v in listed(p["kVs"])[:: -1 if turned else 1]]
        units = [self._members(b, upper, lower) for b in group]
        if (high, low) == (UNGROUNDED, "wye"):
            raise self._refusal(
                first, f"{first.element} feeds grounded wye windings from a wye whose neutral floats: nothing but its "
                "core would hold their voltages to the ground",
            )  # fmt: skip
        if _phases(first) == 3:
            # OpenDSS lets the lower voltage lag unless told otherwise; here the side away from the source lags
            is_lower = kv_rated[0] < kv_rated[1] or (kv_rated[0] == kv_rated[1] and turned)
            lead = (str(p["LeadLag"]).lower() in ("lead", "euro")) != is_lower
            own = ("abc", "abc")
            if lead and "delta" in (high, low) and high != low:
                own = ("ab+bc+ca", "a+b+c") if high == "delta" else ("a+b+c", "ac+ba+cb")
                kv_high, kv_low = (v if c == "delta" else v / math.sqrt(3) for v, c in ((kv_high, high), (kv_low, low)))
        else:
            own = ("+".join(u[0] for u in units), "+".join(u[1] for u in units))
        kva = sum(float(listed(b.properties["kVAs"])[0]) for b in group)
        r, r_low = resistance_percent(first)
        x_low = float(p["XLT"]) if low == "split" else 0.0
        core_side = "high" if turned and (float(p["pctNoLoadLoss"]) or float(p["pctIMag"])) else "low"
        self._note_differences(group)
        self.phases[lower] = in_order(set("".join(u[1] for u in units)))
        name = self.names.new(str(p["Bank"] or first.name) if len(group) > 1 else first.name)
        if _phases(first) == 3:
            self.converted[first.element] = Converted(name, turned, "abc")
        self.transformers.append(
            Transformer(
                name,
                self.bus_name[upper], self.bus_name[lower], kva, kv_high, high, kv_low, low, r, float(p["XHL"]),
                self._from(group), *own,
                float(p["pctNoLoadLoss"]), float(p["pctIMag"]), r_low, x_low, core_side,
            )
        )  # fmt: skip

    def _members(self, branch: RawBranch, upper: str, lower: str) -> tuple[str, str]:
        """What the high and low winding lie across; all phases for a three-phase transformer."""
        if _phases(branch) == 3:
            return "abc", "abc"
        above, below = (branch.ends[0], branch.ends[-1]) if branch.ends[0].bus == upper else branch.ends[::-1]
        low_split = len(branch.ends) == 3
        high = member_of(above.nodes[0], above.nodes[1], self.tree.section[upper].split)
        low = "12" if low_split else member_of(below.nodes[0], below.nodes[1], False)
        if high is None or low is None:
            raise self._refusal(branch, f"{branch.element} has a winding across no phase or leg")
        return _as_wired(high, above.nodes), low if low_split else _as_wired(low, below.nodes)

    def _add_regulator(
        self, upper: str, lower: str, group: Sequence[RawBranch], high: str, low: str, turned: bool
    ) -> bool:
        """Add the group as a regulator if it is one: equal windings, taps on steps, below a control."""
        if high != low or high == UNGROUNDED or not all(b.name in self.regulated for b in group):
            return False
        taps: dict[str, int] = {}
        for b in group:
            p = b.properties
            tap_high, tap_low = (float(t) for t in (listed(p["Taps"])[:: -1 if turned else 1]))
            step = (tap_low / tap_high - 1) / TAP_STEP
            kv = listed(p["kVs"])
            on_step = abs(step - round(step)) < 1e-6 and abs(round(step)) <= TAP_LIMIT
            if not on_step or kv[0] != kv[1] or float(p["pctNoLoadLoss"]) or float(p["pctIMag"]):
                return False
            first, second = self._members(b, upper, lower)
            if first != second:
                return False
            for unit in first if first == "abc" else (first,):
                taps[unit] = round(step)
        three_wire = not self.tree.section[upper].grounded
        if high == "delta":
            kind = next((k for k in REGULATOR_UNITS["open-delta"] if _same_legs(k, taps)), None)
            if kind is None or not three_wire:
                return False
            taps = {unit: taps.get(unit, taps.get(unit[::-1], 0)) for unit in kind}
        p = group[0].properties
        each = 3 if _phases(group[0]) == 3 else 1
        self._note_differences(group)
        self.phases[lower] = "abc" if high == "delta" else in_order(taps)
        name = self.names.new(str(p["Bank"] or group[0].name))
        for b in group:
            unit = self._members(b, upper, lower)[0]
            if high == "delta":
                unit = unit if unit in taps else unit[::-1]
            own = tuple(unit) if unit == "abc" else (unit,)
            self.converted[b.element] = Converted(name, turned, unit, own)
        self.regulators.append(
            Regulator(
                name, self.bus_name[upper], self.bus_name[lower],
                "wye" if high == "wye" else "open-delta", {u: taps[u] for u in sorted(taps)} if high == "wye" else taps,
                self._from(group), float(listed(p["kVAs"])[0]) / each, resistance_percent(group[0])[0],
                float(p["XHL"]),
            )
        )  # fmt: skip
        return True

    def _note_differences(self, group: Sequence[RawBranch]) -> None:
        """A bank has one set of numbers: say so where its units differ."""
        keys = ("kVs", "kVAs", "pctRs", "XHL", "pctNoLoadLoss", "pctIMag")
        for b in group[1:]:
            unlike = [k for k in keys if b.properties[k] != group[0].properties[k]]
            if unlike:
                self.omissions.approximated(
                    b.element, f"differs from {group[0].element}, beside it in the bank, in {', '.join(unlike)}"
                )
        p = group[0].properties
        if len(group[0].ends) == 3 and (p["XHL"] != p["XHT"] or len(set(listed(p["pctRs"])[1:])) > 1):
            self.omissions.approximated(group[0].element, "the halves of its centre-tapped winding differ")


def _amps(group: Sequence[RawBranch]) -> float | None:
    """Least normal ampacity of the lines of a group that state one (A)."""
    stated = [float(b.properties["NormAmps"]) for b in group if b.kind == "line"]
    return min((a for a in stated if a > 0 and a != UNSTATED_AMPS), default=None)


def _phases(branch: RawBranch) -> int:
    return int(branch.properties["Phases"])


def _length(branch: RawBranch) -> tuple[float, float]:
    """Lengths per mile of its unit, and its length in that unit; a reactor counts as one mile."""
    if branch.kind == "reactor":
        return 1.0, 1.0
    return LENGTHS_PER_MILE[str(branch.properties["Units"]).lower()], float(branch.properties["Length"])


def _is_jumper(branch: RawBranch) -> bool:
    p = branch.properties
    if branch.kind != "line" or _phases(branch) != 1:
        return False
    return abs(complex(p["RMatrix"][0][0], p["XMatrix"][0][0])) * float(p["Length"]) < JUMPER_OHM


def _as_wired(member: str, nodes: Sequence[int]) -> str:
    """A leg in the direction in which the winding is wired."""
    return member if len(member) == 1 else "".join(NODE_PHASE[n] for n in nodes[:2])


def _same_legs(kind: Sequence[str], taps: Mapping[str, int]) -> bool:
    return {frozenset(u) for u in kind} == {frozenset(u) for u in taps} and len(taps) == 2


def _rounded(matrix: Real) -> Real:
    """To so many digits that rounding is far below any data and equal constructions look equal."""
    with np.errstate(divide="ignore"):
        scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.where(matrix == 0, 1.0, np.abs(matrix)))))
    return np.asarray(np.round(matrix * scale) / scale)


def _matrix(m: Real) -> Matrix:
    rows = [tuple(float(x) for x in row) for row in m]
    return (rows[0], rows[1], rows[2])  # type: ignore[return-value]
