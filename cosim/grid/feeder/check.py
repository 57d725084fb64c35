"""Checks of a feeder: whatever its data cannot be computed with, named by table, element and column."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from cosim.constants import PHASES
from cosim.grid.feeder.check_controls import check_controls
from cosim.grid.feeder.check_report import Report, check_row
from cosim.grid.feeder.feeder import (
    BY_EXPONENTS,
    FEET_PER_MILE,
    LOAD_EXPONENTS,
    PLACE,
    TAP_LIMIT,
    UNGROUNDED,
    Branch,
    Bus,
    Feeder,
    Line,
    Load,
    Regulator,
    Transformer,
)

PHASE_SETS = ("abc", "ab", "bc", "ac", "a", "b", "c", "12", "1", "2")
LOAD_MODELS = (*LOAD_EXPONENTS, BY_EXPONENTS)
EXPONENT_RANGE = (-10.0, 10.0)
CONNECTIONS = ("delta", "wye")
REGULATOR_UNITS = {"open-delta": (("ab", "cb"), ("bc", "ac"), ("ca", "ba")), "wye": (("a", "b", "c"),)}
TRANSFORMER_KINDS = (
    ("delta", "delta"), ("wye", "wye"), ("delta", "wye"), ("wye", "delta"), (UNGROUNDED, "delta"),
    ("delta", UNGROUNDED), (UNGROUNDED, UNGROUNDED), ("wye", UNGROUNDED),
)  # fmt: skip
"""Not a grounded wye behind a floating one: nothing but its core would hold the zero sequence of its voltages."""
UNIT_KINDS = (*TRANSFORMER_KINDS, ("wye", "split"), ("delta", "split"))
GENERATOR_KINDS = ("generator", "pv", "storage")
TABLES = (
    "buses", "lines", "line_codes", "transformers", "regulators", "capacitors", "loads", "generators",
    "regulator_controls", "capacitor_controls",
)  # fmt: skip
LINE_OHM = (1e-9, 1e5)
"""Impedance of a line, between a closed switch and what no power gets through."""
KV_RANGE, PU_RANGE = (0.05, 1500.0), (0.5, 1.5)
"""Voltage of a source, nominal and actual."""
RATIO_RANGE = (0.8, 1.25)
NAME, NAME_RULE = re.compile(r"[A-Za-z0-9_-]{1,100}"), "letters, digits, _ and -, at most 100"
FEEDER_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
"""Names of a feeder and of what is in it: they become file names and elements of OpenDSS scripts."""


def check_feeder(feeder: Feeder, folder: Path | None = None) -> None:
    """Check that a feeder can be computed with.

    Args:
        feeder: the feeder.
        folder: folder of the tables it was read from, named in messages.

    Raises:
        InputError: unknown bus, missing or unknown phase, islanded bus, loop, negative rating or length, a number
            that is not finite, a duplicate, an unknown line code, an unsupported connection, a control of nothing.
    """
    report = Report(folder)
    _check_duplicates(feeder, report)
    _check_numbers(feeder, report)
    _check_buses(feeder, report)
    _check_branch_ends(feeder, report)
    _check_lines(feeder, report)
    _check_transformers(feeder, report)
    _check_regulators(feeder, report)
    _check_devices(feeder, report)
    _check_tree(feeder, report)
    check_controls(feeder, report)


def _check_duplicates(feeder: Feeder, report: Report) -> None:
    """Names are unique within a table (all branches share one), also for OpenDSS, which ignores case."""
    if not FEEDER_NAME.fullmatch(feeder.name):
        raise report.fail("not a name", "feeder", "name", "value", feeder.name, f"{NAME_RULE}, dots within")
    seen: dict[tuple[str, str], str] = {}
    for table in TABLES:
        space = "branches" if table in ("lines", "transformers", "regulators") else table
        for row in getattr(feeder, table):
            key = (space, row.name.lower())
            if not NAME.fullmatch(row.name):
                raise report.fail("not a name", table, row.name, "name", row.name, NAME_RULE)
            if key in seen:
                message = f"the name is taken in {seen[key]}"
                raise report.fail(message, table, row.name, "name", row.name, "a unique name")
            seen[key] = table


def _check_numbers(feeder: Feeder, report: Report) -> None:
    for table in TABLES:
        for row in getattr(feeder, table):
            check_row(row, table, report)
    for key, number, (low, high) in (
        ("source_kv", feeder.source_kv, KV_RANGE), ("source_pu", feeder.source_pu, PU_RANGE),
    ):  # fmt: skip
        if not low <= number <= high:
            raise report.fail("out of range", "feeder", key, "value", number, f"{low:g} to {high:g}")


def _check_buses(feeder: Feeder, report: Report) -> None:
    for bus in feeder.buses:
        if bus.phases not in PHASE_SETS:
            raise report.fail(
                "unknown phases", "buses", bus.name, "phases", bus.phases, ", ".join(PHASE_SETS)
            )
        if not bus.grounded and bus.phases != "abc":
            raise report.fail(
                "a three-wire bus has all three phases", "buses", bus.name, "phases", bus.phases, "abc"
            )
    if feeder.source_bus not in feeder.bus_by_name:
        raise report.fail(
            "unknown bus",
            "feeder",
            "source_bus",
            "value",
            feeder.source_bus,
            _names(b.name for b in feeder.buses),
        )


def _branch_tables(feeder: Feeder) -> Iterable[tuple[str, Branch]]:
    for table in ("lines", "transformers", "regulators"):
        for branch in getattr(feeder, table):
            yield table, branch


def _check_branch_ends(feeder: Feeder, report: Report) -> None:
    for table, branch in _branch_tables(feeder):
        for column in ("from_bus", "to_bus"):
            _check_bus(feeder, report, table, branch.name, column, getattr(branch, column))
        if branch.from_bus == branch.to_bus:
            raise report.fail(
                "both ends are one bus", table, branch.name, "to_bus", branch.to_bus, "another bus"
            )


def _check_bus(feeder: Feeder, report: Report, table: str, name: str, column: str, bus: str) -> None:
    if bus not in feeder.bus_by_name:
        raise report.fail("unknown bus", table, name, column, bus, _names(b.name for b in feeder.buses))


def _check_lines(feeder: Feeder, report: Report) -> None:
    for line in feeder.lines:
        start, end = feeder.bus_by_name[line.from_bus], feeder.bus_by_name[line.to_bus]
        if line.phases not in PHASE_SETS:
            raise report.fail(
                "unknown phases", "lines", line.name, "phases", line.phases, ", ".join(PHASE_SETS)
            )
        for bus in (start, end):
            if not set(line.phases) <= set(bus.phases):
                raise report.fail(
                    f"bus {bus.name} lacks a phase", "lines", line.name, "phases", line.phases, bus.phases
                )
        if start.grounded != end.grounded or (not start.grounded and line.phases != "abc"):
            raise report.fail(
                "a line joins a three-wire bus to a grounded one or lacks a phase",
                "lines", line.name, "phases", line.phases, "abc between buses of one kind",
            )  # fmt: skip
        if start.kv_base != end.kv_base:
            raise report.fail(
                "a line joins two voltage levels",
                "lines",
                line.name,
                "to_bus",
                end.name,
                f"{start.kv_base} kV",
            )
        code = feeder.code_by_name.get(line.code)
        if code is None:
            raise report.fail(
                "unknown line code", "lines", line.name, "code", line.code, _names(feeder.code_by_name)
            )
        for phase in line.phases:
            k = PLACE[phase]
            ohm = abs(complex(code.r_ohm_per_mile[k][k], code.x_ohm_per_mile[k][k])) * line.length_ft / FEET_PER_MILE
            if ohm == 0:
                raise report.fail(
                    f"line code {code.name} has no phase {phase}", "lines", line.name, "code", line.code,
                    "a code with the phases of the line",
                )  # fmt: skip
            if not LINE_OHM[0] <= ohm <= LINE_OHM[1]:
                raise report.fail(
                    f"phase {phase} has an impedance of {ohm:.3g} ohm", "lines", line.name, "code", line.code,
                    f"{LINE_OHM[0]:g} to {LINE_OHM[1]:g} ohm from end to end",
                )  # fmt: skip


def _check_transformers(feeder: Feeder, report: Report) -> None:
    for t in feeder.transformers:
        kinds = TRANSFORMER_KINDS if t.three_phase else UNIT_KINDS
        if (t.conn_high, t.conn_low) not in kinds:
            allowed = ", ".join("-".join(kind) for kind in kinds)
            raise report.fail(
                "unsupported connection", "transformers", t.name, "conn_high",
                f"{t.conn_high}-{t.conn_low}", allowed,
            )  # fmt: skip
        if t.three_phase != (t.phases_low == "abc") or t.phases_high.count("+") != t.phases_low.count("+"):
            raise report.fail(
                "the units differ in number", "transformers", t.name, "phases_low", t.phases_low,
                f"as many as in phases_high, {t.phases_high}",
            )  # fmt: skip
        high, low = zip(*t.windings, strict=True)
        for side, bus_name, kv, connection, members in (
            ("high", t.from_bus, t.kv_high, t.conn_high, high),
            ("low", t.to_bus, t.kv_low, t.conn_low, low),
        ):
            _check_windings(t, feeder.bus_by_name[bus_name], side, kv, connection, members, report)
        sides = ("low",) if t.conn_low == "split" else ("low", "high")
        if t.core_side not in sides:
            raise report.fail("unknown side", "transformers", t.name, "core_side", t.core_side, ", ".join(sides))
        three_wire = t.conn_low in ("delta", UNGROUNDED)
        if three_wire == feeder.bus_by_name[t.to_bus].grounded:
            raise report.fail(
                "a delta or ungrounded winding feeds a three-wire section, any other a grounded one", "transformers",
                t.name, "to_bus", t.to_bus, f"a bus with grounded = {str(not three_wire).lower()}",
            )  # fmt: skip
        for side, connection, members in (("high", t.conn_high, high), ("low", t.conn_low, low)):
            if connection == UNGROUNDED and sorted(members) != list(PHASES):
                raise report.fail(
                    "a floating neutral joins three windings", "transformers", t.name, f"phases_{side}",
                    "+".join(members), "abc, or a, b and c once each",
                )  # fmt: skip


def _check_windings(
    t: Transformer, bus: Bus, side: str, kv: float, connection: str, members: Sequence[str], report: Report
) -> None:
    """The windings of one side fit the phases and the voltage of their bus."""
    legs = {"split": ("12",), "delta": (*bus.legs, *(leg[::-1] for leg in bus.legs))}.get(connection)
    possible = tuple(bus.phases) if legs is None else legs
    if not set(members) <= set(possible) or (connection in ("wye", "split") and not bus.grounded):
        raise report.fail(
            f"bus {bus.name} does not fit a {connection} winding", "transformers", t.name,
            f"conn_{side}", connection,
            f"{', '.join(possible)}; a neutral for {connection}" if legs is None else ", ".join(possible),
        )  # fmt: skip
    nominal = bus.kv_base if t.three_phase or connection == "delta" else bus.kv_neutral
    if not RATIO_RANGE[0] <= kv / nominal <= RATIO_RANGE[1]:
        raise report.fail(
            f"far from the voltage of bus {bus.name}", "transformers", t.name, f"kv_{side}", kv, f"{nominal:g} kV"
        )


def _check_regulators(feeder: Feeder, report: Report) -> None:
    for r in feeder.regulators:
        if r.connection not in REGULATOR_UNITS:
            raise report.fail(
                "unknown connection",
                "regulators",
                r.name,
                "connection",
                r.connection,
                ", ".join(REGULATOR_UNITS),
            )
        start, end = feeder.bus_by_name[r.from_bus], feeder.bus_by_name[r.to_bus]
        if start.grounded != (r.connection == "wye") or start.grounded != end.grounded:
            raise report.fail(
                "the connection does not fit the buses", "regulators", r.name, "connection", r.connection,
                "open-delta between three-wire buses, wye between grounded ones",
            )  # fmt: skip
        if not set(end.phases) <= set(start.phases) or start.kv_base != end.kv_base:
            raise report.fail(
                "the two buses differ in phases or voltage", "regulators", r.name, "to_bus", r.to_bus, start.phases
            )
        kinds: Sequence[Sequence[str]] = (
            (tuple(end.phases),) if r.connection == "wye" else REGULATOR_UNITS["open-delta"]
        )
        if not any(set(r.taps) == set(kind) for kind in kinds):
            allowed = " or ".join("+".join(kind) for kind in kinds)
            raise report.fail("unknown units", "regulators", r.name, "unit", "+".join(r.taps), allowed)
        for unit, tap in r.taps.items():
            if not -TAP_LIMIT <= tap <= TAP_LIMIT:
                raise report.fail(
                    f"tap of unit {unit} out of range",
                    "regulators",
                    r.name,
                    "tap",
                    tap,
                    f"-{TAP_LIMIT}..{TAP_LIMIT}",
                )


def _check_devices(feeder: Feeder, report: Report) -> None:
    for table in ("loads", "capacitors", "generators"):
        for device in getattr(feeder, table):
            _check_bus(feeder, report, table, device.name, "bus", device.bus)
            bus = feeder.bus_by_name[device.bus]
            if device.connection not in CONNECTIONS:
                raise report.fail(
                    "unknown connection", table, device.name, "connection", device.connection, ", ".join(CONNECTIONS)
                )
            if device.connection == "wye" and not bus.grounded:
                raise report.fail(
                    f"bus {bus.name} is three-wire", table, device.name, "connection", device.connection, "delta"
                )
            possible = _device_phases(bus, device.connection)
            if device.phases not in possible:
                raise report.fail(
                    "unknown or missing phase", table, device.name, "phases", device.phases, ", ".join(possible)
                )
    for load in feeder.loads:
        if load.model not in LOAD_MODELS:
            raise report.fail(
                "unknown load model", "loads", load.name, "model", load.model, ", ".join(LOAD_MODELS)
            )
        _check_exponents(load, report)
    for unit in feeder.generators:
        if unit.kind not in GENERATOR_KINDS:
            allowed = ", ".join(GENERATOR_KINDS)
            raise report.fail("unknown kind", "generators", unit.name, "kind", unit.kind, allowed)


def _check_exponents(load: Load, report: Report) -> None:
    """A load states both exponents if its model is by exponents, and none otherwise."""
    low, high = EXPONENT_RANGE
    for column in ("exponent_p", "exponent_q"):
        value = getattr(load, column)
        if load.model != BY_EXPONENTS and value is not None:
            raise report.fail(
                f"a load of model {load.model} has no exponents", "loads", load.name, column, value,
                f"nothing, or model {BY_EXPONENTS}",
            )  # fmt: skip
        if load.model == BY_EXPONENTS and (value is None or not low <= value <= high):
            raise report.fail(
                "no exponent" if value is None else "out of range", "loads", load.name, column, value,
                f"{low:g} to {high:g}",
            )  # fmt: skip


def _device_phases(bus: Bus, connection: str) -> tuple[str, ...]:
    return tuple(bus.phases) if connection == "wye" else bus.legs


def _check_tree(feeder: Feeder, report: Report) -> None:
    """Every bus is fed exactly once, with all of its phases; only lines may point towards the source."""
    at: dict[str, list[tuple[str, Branch]]] = {b.name: [] for b in feeder.buses}
    for table, branch in _branch_tables(feeder):
        at[branch.from_bus].append((table, branch))
        at[branch.to_bus].append((table, branch))
    reached, used, queue = {feeder.source_bus}, set[str](), deque([feeder.source_bus])
    while queue:
        here = queue.popleft()
        for table, branch in at[here]:
            if branch.name in used:
                continue
            used.add(branch.name)
            there = branch.to_bus if here == branch.from_bus else branch.from_bus
            if there in reached:
                raise report.fail(
                    "the branch closes a loop", table, branch.name, "to_bus", branch.to_bus, "a radial feeder"
                )
            if not isinstance(branch, Line) and here != branch.from_bus:
                raise report.fail(
                    "from_bus is not the side of the source",
                    table,
                    branch.name,
                    "from_bus",
                    branch.from_bus,
                    here,
                )
            if _fed(branch) != set(feeder.bus_by_name[there].phases):
                column, found = ("phases", branch.phases) if isinstance(branch, Line) else ("to_bus", there)
                raise report.fail(
                    f"bus {there} has phases that nothing feeds", table, branch.name, column, found,
                    feeder.bus_by_name[there].phases,
                )  # fmt: skip
            reached.add(there)
            queue.append(there)
    for bus in feeder.buses:
        if bus.name not in reached:
            raise report.fail(
                "the bus is an island", "buses", bus.name, "name", bus.name, f"a path to {feeder.source_bus}"
            )


def _fed(branch: Branch) -> set[str]:
    """Phases that a branch feeds; two windings across legs feed all three."""
    if isinstance(branch, Line):
        return set(branch.phases)
    members = branch.taps if isinstance(branch, Regulator) else (low for _, low in branch.windings)
    return set("".join(members))


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)
