"""The feeder in OpenDSS with its controls in force: where do taps and capacitors come to rest?

OpenDSS decides. The circuit differs from that of :class:`AcCircuit` only in how it is put together: what one control
moves is one element (units of a regulator as one transformer, capacitors on several phases as one), and a line of
which single phases are measured is one line a phase. Its solutions are the same. A circuit that is a feeder itself has
its own controls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import opendssdirect

from cosim.errors import RunFailure
from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.controls import CAPACITOR_KINDS, EXTREMES, CapacitorControl, RegulatorControl
from cosim.grid.feeder.feeder import PLACE, TAP_STEP, Feeder, Line
from cosim.grid.feeder.phases import Terminal
from cosim.grid.feeder.positions import Positions, at_positions, positions_of
from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.commands import circuit_commands, line_command, switched_command, together_command
from cosim.grid.opendss.whole.standing import own_positions

CONTROL_ITERATIONS = 200
"""A regulator that goes from one end of its range to the other a step at a time needs 32."""
HOUR_S = 3600
ACTING = ("set controlmode=static", f"set maxcontroliter={CONTROL_ITERATIONS}")
"""How OpenDSS is told that controls act."""


class ControlledCircuit(AcCircuit):
    """A feeder whose regulators and capacitors move as their controls in OpenDSS make them.

    The devices start where the tables have them, and every solution starts where the last one left them.
    """

    def _commands(self) -> list[str]:
        if isinstance(self.feeder, CircuitFeeder):
            return [*super()._commands(), *(f"{name}.enabled=no" for name in self.feeder.idle_controls), *ACTING]
        return controlled_commands(self.feeder)

    def move_to(self, feeder: Feeder) -> None:
        """Start again from where a feeder has its devices; see :meth:`AcCircuit.move_to`."""
        if feeder is not self.feeder:
            self.feeder = feeder
            self._compile()

    def settle(
        self, load_scale: float = 1.0, injections: Iterable[tuple[Terminal, float, float]] = (), time_s: int = 0
    ) -> Positions:
        """Let the controls act until none wants to any more (OpenDSS's static control mode).

        Args:
            load_scale, injections: as in :meth:`AcCircuit.solve`.
            time_s: seconds since a midnight, for controls that go by the clock and for dead times.

        Raises:
            RunFailure: the controls find no rest, or the power flow has no solution.
        """
        self._dss.Solution.Hour(time_s // HOUR_S)
        self._dss.Solution.Seconds(time_s % HOUR_S)
        name = self.feeder.name
        try:
            found = self.state(load_scale, injections)
        except opendssdirect.DSSException as error:
            raise RunFailure(
                f"feeder {name}: its controls found no rest in {CONTROL_ITERATIONS} rounds "
                f"({' '.join(str(error).split())})"
            ) from None
        if found is None:
            raise RunFailure(
                f"feeder {name}: no AC solution within 0.8 to 1.2 pu for its controls to act on "
                f"(load scale {load_scale:g})"
            )
        self.feeder = at_positions(self.feeder, self._positions())
        return positions_of(self.feeder)

    def _positions(self) -> Positions:
        """Where the devices stand in OpenDSS; those without a control stay as they are."""
        before = positions_of(self.feeder)
        if isinstance(self.feeder, CircuitFeeder):
            return own_positions(self._dss, self.feeder)
        taps = {(r, unit): tap for r, unit, tap in before.taps}
        steps = dict(before.steps)
        transformers, capacitors = self._dss.Transformers, self._dss.Capacitors
        for c in self.feeder.regulator_controls:
            transformers.Name(transformer_of(c))
            transformers.Wdg(2)
            tap = round((transformers.Tap() - 1) / TAP_STEP)
            taps |= {(c.regulator, unit): tap for unit in c.members}
        for s in self.feeder.capacitor_controls:
            capacitors.Name(s.members[0])
            steps |= dict.fromkeys(s.members, sum(capacitors.States()))
        return Positions(
            tuple((r, unit, taps[r, unit]) for r, unit, _ in before.taps),
            tuple((name, steps[name]) for name, _ in before.steps),
        )


def controlled_commands(feeder: Feeder) -> list[str]:
    """The feeder as OpenDSS commands, with its controls, in OpenDSS's static control mode."""
    instead: dict[tuple[str, str], Sequence[str]] = {}
    regulators = {r.name: r for r in feeder.regulators}
    for c in feeder.regulator_controls:
        if len(c.members) > 1:
            instead["regulators", c.regulator] = [together_command(regulators[c.regulator], feeder)]
    capacitors = {x.name: x for x in feeder.capacitors}
    lines = {line.name: line for line in feeder.lines}
    for s in feeder.capacitor_controls:
        members = [capacitors[name] for name in s.members]
        instead |= {("capacitors", name): [] for name in s.members}
        instead["capacitors", s.members[0]] = [switched_command(feeder, members, s.members[0])]
        line = lines.get(s.element)
        if line is not None and s.phases != line.phases:
            instead["lines", line.name] = [line_command(phase_of(line, x), feeder) for x in line.phases]
    commands = circuit_commands(feeder, instead=instead)
    for c in feeder.regulator_controls:
        commands += regulator_control_commands(c)
    turned = {t.name for t in feeder.transformers if t.core_side == "high"}  # see transformer_commands
    for s in feeder.capacitor_controls:
        commands.append(capacitor_control_command(s, lines.get(s.element), "to" if s.element in turned else "from"))
    return [*commands, *ACTING]


def phase_of(line: Line, phase: str) -> Line:
    """One phase of a line whose phases are not coupled, as a line of its own."""
    name = f"{line.name}-{phase}"
    return Line(name, line.from_bus, line.to_bus, phase, line.length_ft, line.code)


def transformer_of(c: RegulatorControl) -> str:
    """Name in OpenDSS of the transformer that a control moves."""
    return c.regulator if len(c.members) > 1 else f"{c.regulator}-{c.units}"


def regulator_control_commands(c: RegulatorControl) -> list[str]:
    """The range of a transformer's taps, and the control that moves it."""
    lowest, highest = (1.0 + TAP_STEP * tap for tap in (c.tap_min, c.tap_max))
    span = f"mintap={lowest!r} maxtap={highest!r} numtaps={c.tap_max - c.tap_min}"
    command = (
        f"new regcontrol.{c.name} transformer={transformer_of(c)} winding=2 vreg={c.vreg_v!r} band={c.band_v!r} "
        f"ptratio={c.pt_ratio!r} ctprim={c.ct_primary_a!r} r={c.r_v!r} x={c.x_v!r} delay={c.delay_s!r} "
        f"tapdelay={c.tap_delay_s!r} maxtapchange={c.max_tap_change} vlimit={c.v_limit_v!r}"
    )
    if c.bus:
        remote = "" if c.remote_pt_ratio is None else f" remoteptratio={c.remote_pt_ratio!r}"
        command += f" bus={c.bus}.{PLACE[c.phase] + 1}{remote}"
    if len(c.members) > 1:
        command += f" ptphase={_place(c.phase, c.members)}"
    return [f"transformer.{transformer_of(c)}.wdg=2 {span}", command]


def capacitor_control_command(c: CapacitorControl, line: Line | None, first: str) -> str:
    """A capacitor control; ``first`` says which end of its element is OpenDSS's first terminal."""
    element = f"transformer.{c.element}"
    if line is not None:
        element = f"line.{line.name}" if c.phases == line.phases else f"line.{line.name}-{c.phases}"
    limits = "" if c.v_min_v is None else f" voltoverride=yes vmin={c.v_min_v!r} vmax={c.v_max_v!r}"
    return (
        f"new capcontrol.{c.name} capacitor={c.members[0]} element={element} "
        f"terminal={1 if c.terminal == first else 2} type={CAPACITOR_KINDS[c.kind]} ptratio={c.pt_ratio!r} "
        f"ctratio={c.ct_ratio!r} onsetting={c.on_setting!r} offsetting={c.off_setting!r} delay={c.delay_s!r} "
        f"delayoff={c.delay_off_s!r} deadtime={c.dead_time_s!r} ptphase={_place(c.pt_phase, c.phases)} "
        f"ctphase={_place(c.ct_phase, c.phases)}{limits}"
    )


def _place(phase: str, measured: Sequence[str]) -> str:
    """A phase as its number among those measured; the first where none is named."""
    if phase in EXTREMES or phase == "avg":
        return phase
    return str(list(measured).index(phase) + 1 if phase else 1)
