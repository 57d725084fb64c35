"""Checks of the controls of a feeder: what moves which device, where it measures, and by which settings."""

from __future__ import annotations

from cosim.constants import KILO
from cosim.grid.feeder.check_report import Report, check_row
from cosim.grid.feeder.controls import CAPACITOR_KINDS, EXTREMES, OF_ALL, CapacitorControl, RegulatorControl
from cosim.grid.feeder.feeder import (
    PLACE,
    TAP_LIMIT,
    TAP_STEP,
    Capacitor,
    Feeder,
    Line,
    LineCode,
    Regulator,
    Transformer,
)

REGULATORS, CAPACITORS = "regulator_controls", "capacitor_controls"
TERMINALS = ("from", "to")
HOURS = 24.0


def check_controls(feeder: Feeder, report: Report) -> None:
    """Check that every control can act, and that no device has two.

    Raises:
        InputError: see :func:`check_regulator_control` and :func:`check_capacitor_control`.
    """
    moved: dict[str, str] = {}
    for regulating in feeder.regulator_controls:
        check_regulator_control(feeder, regulating, report)
        for unit in regulating.members:
            _take(moved, f"{regulating.regulator}.{unit}", regulating.name, REGULATORS, "units", report)
    switched: dict[str, str] = {}
    for switching in feeder.capacitor_controls:
        check_capacitor_control(feeder, switching, report)
        for name in switching.members:
            _take(switched, name, switching.name, CAPACITORS, "capacitors", report)
    for c in feeder.capacitors:
        _check_steps(c, c.name in switched, report)


def _take(taken: dict[str, str], device: str, name: str, table: str, column: str, report: Report) -> None:
    if device in taken:
        message = f"{device} has a control already, {taken[device]}"
        raise report.fail(message, table, name, column, device, "one control")
    taken[device] = name


def _check_steps(c: Capacitor, controlled: bool, report: Report) -> None:
    if c.steps_on > c.steps:
        raise report.fail(
            "more steps on than there are", "capacitors", c.name, "steps_on", c.steps_on, f"0 to {c.steps}"
        )
    if controlled and c.kvar <= 0:
        raise report.fail("a reactor cannot be switched", "capacitors", c.name, "kvar", c.kvar, "a number above 0")


def check_regulator_control(feeder: Feeder, c: RegulatorControl, report: Report) -> None:
    """Check one control.

    Raises:
        InputError: an unknown regulator, unit, phase or bus, taps out of range, a number that cannot be, or a band
            narrower than a tap, in which no tap would rest.
    """
    check_row(c, REGULATORS, report)
    regulators = {r.name: r for r in feeder.regulators}
    r = regulators.get(c.regulator)
    if r is None:
        allowed = ", ".join(regulators) or "none: the feeder has no regulator"
        raise report.fail("unknown regulator", REGULATORS, c.name, "regulator", c.regulator, allowed)
    together = r.connection == "wye" and set(c.members) == set(r.taps)
    if len(set(c.members)) != len(c.members) or not (together or (len(c.members) == 1 and c.units in r.taps)):
        allowed = ", ".join(r.taps) + (f", {'+'.join(r.taps)}" if r.connection == "wye" else "")
        raise report.fail("not units of one control", REGULATORS, c.name, "units", c.units, allowed)
    _check_measured(feeder, c, report)
    _check_taps(c, r, report)
    bus = feeder.bus_by_name[r.to_bus]
    rated = KILO * (bus.kv_neutral if r.connection == "wye" else bus.kv_base)
    step = TAP_STEP * rated / c.pt_ratio
    if c.band_v < step:
        raise report.fail(
            "the band is narrower than one tap", REGULATORS, c.name, "band_v", c.band_v, f"{step:.3g} V or more"
        )


def _check_taps(c: RegulatorControl, r: Regulator, report: Report) -> None:
    if not -TAP_LIMIT <= c.tap_min < c.tap_max <= TAP_LIMIT:
        allowed = f"-{TAP_LIMIT} to {TAP_LIMIT}, tap_min below tap_max"
        raise report.fail(
            "no range of taps", REGULATORS, c.name, "tap_min", f"{c.tap_min} to {c.tap_max}", allowed
        )
    for unit in c.members:
        if not c.tap_min <= r.taps[unit] <= c.tap_max:
            raise report.fail(
                f"tap {r.taps[unit]} of unit {unit} is out of the control's range", REGULATORS, c.name, "tap_max",
                f"{c.tap_min} to {c.tap_max}", "a range with the tap in the table of regulators",
            )  # fmt: skip
    if len({r.taps[unit] for unit in c.members}) > 1:
        taps = ", ".join(str(r.taps[unit]) for unit in c.members)
        raise report.fail("units that move together differ in tap", REGULATORS, c.name, "units", taps, "one tap")


def _check_measured(feeder: Feeder, c: RegulatorControl, report: Report) -> None:
    """The phase that is measured, and the other bus if it is not the unit's own."""
    if c.bus:
        there = feeder.bus_by_name.get(c.bus)
        if there is None or not there.grounded or c.units not in PLACE:
            allowed = "a bus with a neutral, for the control of one unit to the neutral"
            raise report.fail("no bus to measure at", REGULATORS, c.name, "bus", c.bus, allowed)
        possible = tuple(there.phases)
        if c.phase not in possible:
            raise report.fail("unknown phase", REGULATORS, c.name, "phase", c.phase, ", ".join(possible))
    else:
        possible = (*c.members, *EXTREMES) if len(c.members) > 1 else c.members
        if c.phase and c.phase not in possible:
            raise report.fail("unknown phase", REGULATORS, c.name, "phase", c.phase, ", ".join(possible))


def check_capacitor_control(feeder: Feeder, c: CapacitorControl, report: Report) -> None:
    """Check one control.

    Raises:
        InputError: an unknown kind, capacitor, element or phase, capacitors that cannot switch together, settings in
            the wrong order, or a number that cannot be.
    """
    check_row(c, CAPACITORS, report)
    if c.kind not in CAPACITOR_KINDS:
        raise report.fail("unknown kind of control", CAPACITORS, c.name, "kind", c.kind, ", ".join(CAPACITOR_KINDS))
    _check_capacitors(feeder, c, report)
    _check_element(feeder, c, report)
    _check_settings(c, report)


def _check_capacitors(feeder: Feeder, c: CapacitorControl, report: Report) -> None:
    known = {x.name: x for x in feeder.capacitors}
    for name in c.members:
        if name not in known:
            allowed = ", ".join(known) or "none: the feeder has no capacitor"
            raise report.fail("unknown capacitor", CAPACITORS, c.name, "capacitors", name, allowed)
    members = [known[name] for name in c.members]
    first = members[0]
    alike = all(
        (x.bus, x.connection, x.kvar, x.steps, x.steps_on)
        == (first.bus, first.connection, first.kvar, first.steps, first.steps_on)
        for x in members
    )
    legs = first.connection == "delta"
    if not alike or len({x.phases for x in members}) != len(members) or (legs and len(members) == 2):
        raise report.fail(
            "these capacitors cannot switch together", CAPACITORS, c.name, "capacitors", c.capacitors,
            "capacitors of one bus, connection and size on different phases (on legs: one or all three)",
        )  # fmt: skip


def _check_element(feeder: Feeder, c: CapacitorControl, report: Report) -> None:
    measurable: dict[str, Line | Transformer] = {b.name: b for b in feeder.lines}
    measurable |= {t.name: t for t in feeder.transformers if t.three_phase}
    element = measurable.get(c.element)
    if element is None:
        allowed = "a line or a three-phase transformer of the feeder"
        raise report.fail("unknown element", CAPACITORS, c.name, "element", c.element, allowed)
    if c.terminal not in TERMINALS:
        raise report.fail("unknown terminal", CAPACITORS, c.name, "terminal", c.terminal, ", ".join(TERMINALS))
    own = element.phases if isinstance(element, Line) else "abc"
    single = isinstance(element, Line) and uncoupled(feeder.code_by_name[element.code], own)
    if c.phases != own and not (single and len(c.phases) == 1 and c.phases in own):
        allowed = f"{own}, {', '.join(own)}" if single else f"{own} (its phases are coupled)"
        raise report.fail("phases that cannot be measured", CAPACITORS, c.name, "phases", c.phases, allowed)
    for column in ("pt_phase", "ct_phase"):
        value = getattr(c, column)
        if value and value not in (*c.phases, *OF_ALL):
            raise report.fail("unknown phase", CAPACITORS, c.name, column, value, ", ".join((*c.phases, *OF_ALL)))


def uncoupled(code: LineCode, phases: str) -> bool:
    """Whether a construction has no terms between these phases."""
    matrices = (code.r_ohm_per_mile, code.x_ohm_per_mile, code.b_us_per_mile)
    return not any(m[PLACE[x]][PLACE[y]] for m in matrices for x in phases for y in phases if x != y)


def _check_settings(c: CapacitorControl, report: Report) -> None:
    on, off = c.on_setting, c.off_setting
    both = f"on {on:g}, off {off:g}"
    wrong, allowed = {
        "voltage": (on >= off or on <= 0, "on below off, V on the secondary side"),
        "current": (on <= off or off < 0, "on above off, A on the secondary side"),
        "kvar": (on <= off, "on above off, kvar into the element"),
        "pf": (not (0 < abs(on) <= 1 and 0 < abs(off) <= 1), "-1 to 1 and not 0, leading below 0"),
        "time": (not (0 <= on < HOURS and 0 <= off < HOURS) or on == off, "two different hours from 0 to below 24"),
    }[c.kind]
    if wrong:
        raise report.fail("settings that switch nothing", CAPACITORS, c.name, "on_setting", both, allowed)
    if c.v_min_v is not None and c.v_max_v is not None and c.v_min_v >= c.v_max_v:
        both = f"{c.v_min_v:g} to {c.v_max_v:g}"
        raise report.fail("no range of voltages", CAPACITORS, c.name, "v_min_v", both, "v_min_v below v_max_v")
    if (c.v_min_v is None) != (c.v_max_v is None):
        raise report.fail("one of two limits", CAPACITORS, c.name, "v_min_v", c.v_min_v, "both limits, or none")
