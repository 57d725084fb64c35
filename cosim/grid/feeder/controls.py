"""Settings of the controls that move a feeder's devices: regulator controls and capacitor controls.

What a setting means is OpenDSS's RegControl and CapControl, which also act on them
(:mod:`cosim.grid.opendss.controlled`):
nothing here decides anything. Voltages are those on the secondary side of the potential transformer.
"""

from __future__ import annotations

from dataclasses import dataclass

CAPACITOR_KINDS = {"voltage": "voltage", "current": "current", "kvar": "kvar", "pf": "PF", "time": "time"}
"""What a capacitor control goes by, with its name in OpenDSS."""
EXTREMES = ("max", "min")
OF_ALL = ("avg", *EXTREMES)
"""What may stand for a phase where several are measured."""


@dataclass(frozen=True, slots=True)
class RegulatorControl:
    """Control of one unit of a regulator, or of several that move together.

    Attributes:
        regulator: name of the regulator.
        units: its units that this control moves, joined by ``+``: one, or all of a ``wye`` regulator.
        vreg_v, band_v: voltage that is kept, and the width of the band around it, V.
        pt_ratio: of the potential transformer; ct_primary_a: primary rating of the current transformer, A.
        r_v, x_v: line drop compensator, V at the rated current, against the voltage across the unit (across a leg
            that voltage leads the current by 30 degrees more or less than to neutral: settings for voltages to neutral
            are to be turned by it).
        delay_s: how long the voltage must be outside before the first tap change; tap_delay_s: between further ones.
        max_tap_change: most steps that one action moves.
        tap_min, tap_max: range of taps.
        v_limit_v: voltage at the unit's own terminal that is never exceeded; 0: none.
        phase: of units that move together, the one that is measured, or ``max`` or ``min`` of all; with ``bus`` the
            phase there. Empty: the first.
        bus: another bus whose voltage is measured (then no line drop), with remote_pt_ratio; empty: the unit's own.
    """

    name: str
    regulator: str
    units: str
    vreg_v: float
    band_v: float
    pt_ratio: float
    ct_primary_a: float
    r_v: float
    x_v: float
    delay_s: float
    source: str = ""
    tap_delay_s: float = 2.0
    max_tap_change: int = 16
    tap_min: int = -16
    tap_max: int = 16
    v_limit_v: float = 0.0
    phase: str = ""
    bus: str = ""
    remote_pt_ratio: float | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """The units that it moves."""
        return tuple(self.units.split("+"))


@dataclass(frozen=True, slots=True)
class CapacitorControl:
    """Control that switches one capacitor, or several that switch together.

    Attributes:
        capacitors: names of the capacitors, joined by ``+``: those of one bus and size on different phases or legs.
        kind: what it goes by, one of ``CAPACITOR_KINDS``.
        element, terminal: branch and end (``from`` or ``to``) where it measures; phases: those of the branch's phases
            that it measures (all, or one of a line whose phases are not coupled).
        on_setting, off_setting: where steps are switched on and off: V or A on the secondary side, kvar into the
            element (all measured phases together), power factor (above 1: leading, as 2 - pf), or hour of the day.
        delay_s, delay_off_s: before a step goes on and off; dead_time_s: between off and on again.
        pt_ratio, ct_ratio: of the transformers.
        pt_phase, ct_phase: of several measured phases the one that counts, or ``avg``, ``max``, ``min``. Empty: the
            first.
        v_min_v, v_max_v: voltage below and above which steps go on and off whatever the setting; absent: never.
    """

    name: str
    capacitors: str
    kind: str
    element: str
    terminal: str
    phases: str
    on_setting: float
    off_setting: float
    delay_s: float
    source: str = ""
    delay_off_s: float = 15.0
    dead_time_s: float = 300.0
    pt_ratio: float = 60.0
    ct_ratio: float = 60.0
    pt_phase: str = ""
    ct_phase: str = ""
    v_min_v: float | None = None
    v_max_v: float | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """The capacitors that it switches."""
        return tuple(self.capacitors.split("+"))
