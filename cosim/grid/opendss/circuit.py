"""AC power flow of a feeder in OpenDSS.

The circuit is built once, from the feeder's tables or by the script that the feeder is; a step then changes only the
load multiplier and the powers of the extra loads that stand for controllable devices. Regulators and capacitors stay
where the feeder has them and controls are off. No load of a feeder of tables turns into a constant impedance within 0.8
to 1.2 per unit; those of a script keep the range that they have there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.constants import KILO, LEGS, PHASES
from cosim.errors import InputError
from cosim.grid.feeder.arrays import Structure
from cosim.grid.feeder.check import check_feeder
from cosim.grid.feeder.circuit import CircuitFeeder, in_frames
from cosim.grid.feeder.feeder import PLACE, Feeder, Load
from cosim.grid.feeder.flows import BranchFlows
from cosim.grid.feeder.phases import Terminal, line_to_line, lvur, pvur, vuf
from cosim.grid.opendss.commands import V_MAX, V_MIN, circuit_commands, load_command, states_of
from cosim.grid.opendss.context import new_context

Complex = NDArray[np.complex128]
ROUNDED_PU = 1e-8
"""How close the iteration comes where rounding lets it come no closer: voltages to ground behind a floating winding."""


@dataclass(frozen=True, slots=True)
class Unbalance:
    """Unbalance of a bus, percent: |V2|/|V1| (IEC), line-to-line rate (NEMA) and phase rate (IEEE).

    On three-wire buses the phase rate is that of the centroid frame.
    """

    vuf_pct: float
    lvur_pct: float
    pvur_pct: float


@dataclass(frozen=True, slots=True)
class AcSolution:
    """One AC power flow.

    Attributes:
        voltages: magnitude in per unit by (bus, leg) on three-wire buses, by (bus, phase) on grounded ones.
        phasors: (3,) voltages of phases a, b, c per unit of the nominal line-to-neutral voltage, by bus; in
            the centroid frame on three-wire buses; nan for a missing phase.
        unbalance: by three-phase bus.
        p_source_kw, q_source_kvar: drawn from the source. losses_kw: all series and shunt losses.
        converged: False when the numbers are no solution of the feeder as given: the iteration did not
            settle, or a voltage left 0.8 to 1.2 per unit, where loads no longer keep their model.
        settled: whether the iteration settled.
        flows: what enters the branches, where it was asked for.
    """

    voltages: dict[tuple[str, str], float]
    phasors: dict[str, Complex]
    unbalance: dict[str, Unbalance]
    p_source_kw: float
    q_source_kvar: float
    losses_kw: float
    converged: bool
    settled: bool = True
    flows: BranchFlows | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AcState:
    """Where an AC power flow stands, as arrays.

    Attributes:
        phasors: (buses, 3) voltages as :attr:`AcCircuit.node_phasors`. source_mva: drawn from the source.
        fed: currents at the source's nodes (:meth:`AcCircuit.source_currents`); of feeders of tables none.
    """

    phasors: Complex
    source_mva: complex
    fed: Complex


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where OpenDSS has the voltages of a feeder, and which of them are looked at.

    Attributes:
        nodes: (rows, places) of each voltage among all of OpenDSS, -1 where there is none; base: (rows,) V.
        floating, full: (buses,) three phases without a neutral; three phases.
        phase, line: (buses, 3) voltages that have limits: of phases, and between phases.
        neutral: (buses,) place of a neutral conductor of its own; None if no bus has one.
        buses: their names.
        labels: of the voltages that a solution tells; told: (3, labels) whether it is one between phases (0) or of a
            phase (1), its bus, and its place there.
    """

    nodes: NDArray[np.intp]
    base: NDArray[np.float64]
    floating: NDArray[np.bool_]
    full: NDArray[np.bool_]
    phase: NDArray[np.bool_]
    line: NDArray[np.bool_]
    neutral: NDArray[np.intp] | None
    buses: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    told: NDArray[np.intp]


class AcCircuit:
    """A feeder as an OpenDSS circuit of its own; several may live side by side in one process."""

    def __init__(self, feeder: Feeder) -> None:
        """Build the circuit.

        Raises:
            InputError: the feeder does not pass its check.
        """
        if not isinstance(feeder, CircuitFeeder):
            check_feeder(feeder)
        self.feeder = feeder
        self.node_phasors: Complex = np.full((len(feeder.buses), 3), np.nan, dtype=complex)
        """(buses, 3) phasors of the last solution in the frame of the ground, also in three-wire sections; of a
        circuit's own (rows, places) of its wiring."""
        self._order: tuple[Structure, NDArray[np.intp]] | None = None
        self._load_mult = feeder.wired.load_mult if isinstance(feeder, CircuitFeeder) else 1.0
        self._dss = new_context()
        self._compile()

    def _compile(self) -> None:
        for command in self._commands():
            self._command(command)
        self._extra: dict[tuple[str, str, str], int] = {}
        self._active: set[int] = set()
        self._found: _Places | None = None

    def _commands(self) -> list[str]:
        if isinstance(self.feeder, CircuitFeeder):
            circuit = self.feeder
            moved = [c for m, at in zip(circuit.movable, circuit.positions, strict=True) if at != m.standing
                     for c in m.commands_at(at)]  # fmt: skip
            return [*circuit.commands, f"edit {circuit.wired.source} pu={circuit.source_pu!r}", *moved]
        return circuit_commands(self.feeder)

    def move_to(self, feeder: Feeder) -> None:
        """Move regulators and capacitors to where a feeder has them that differs in nothing else."""
        if feeder is self.feeder:
            return
        if isinstance(feeder, CircuitFeeder) and isinstance(self.feeder, CircuitFeeder):
            for m, there, here in zip(feeder.movable, self.feeder.positions, feeder.positions, strict=True):
                for command in m.commands_at(here) if here != there else ():
                    self._command(command)
        for before, after in zip(self.feeder.regulators, feeder.regulators, strict=True):
            for unit, tap in after.taps.items():
                if tap != before.taps[unit]:
                    self._command(f"transformer.{after.name}-{unit}.wdg=2 tap={after.ratio(unit)!r}")
        for was, now in zip(self.feeder.capacitors, feeder.capacitors, strict=True):
            if was.steps_on != now.steps_on:
                self._command(f"capacitor.{now.name}.{states_of(now)}")
        self.feeder = feeder

    def solve(
        self, load_scale: float = 1.0, injections: Iterable[tuple[Terminal, float, float]] = ()
    ) -> AcSolution:
        """Solve the power flow.

        Args:
            load_scale: factor on the base loads.
            injections: (terminal, kW, kvar) of controllable devices, demand positive, constant power.

        Raises:
            InputError: an injection at a bus or phase that the feeder does not have.
        """
        self._run(load_scale, injections)
        solution = self._read()
        if not solution.converged:
            self._compile()  # the next iteration must not start from these voltages
        return solution

    def state(self, load_scale: float, injections: Iterable[tuple[Terminal, float, float]]) -> AcState | None:
        """Solve the power flow for its state alone, arguments and errors as in :meth:`solve`; None where that would not
        have converged."""
        self._run(load_scale, injections)
        if not (self._in_range(*self._magnitudes()[1:]) and self._dss.Solution.Converged()):
            self._compile()
            return None
        fed = self.source_currents() if isinstance(self.feeder, CircuitFeeder) else np.zeros(0, dtype=complex)
        p_kw, q_kvar = self._dss.Circuit.TotalPower()[:2]
        return AcState(self.node_phasors, -complex(p_kw, q_kvar) / KILO, fed)

    def _run(self, load_scale: float, injections: Iterable[tuple[Terminal, float, float]]) -> None:
        powers: dict[int, complex] = dict.fromkeys(self._active, 0j)
        for terminal, p_kw, q_kvar in injections:
            for member in terminal.phases:
                index = self._load_index(terminal, member)
                powers[index] = powers.get(index, 0j) + complex(p_kw, q_kvar) / len(terminal.phases)
        loads = self._dss.Loads
        for index, power in powers.items():
            loads.Idx(index)
            loads.kW(power.real)
            loads.kvar(power.imag)
        self._active = {index for index, power in powers.items() if power != 0}
        solution = self._dss.Solution
        solution.LoadMult(load_scale * self._load_mult)
        solution.Solve()
        if isinstance(self.feeder, CircuitFeeder) and not solution.Converged():
            finest = solution.Convergence()
            solution.Convergence(ROUNDED_PU)
            solution.Solve()
            solution.Convergence(finest)

    def node_phasors_in(self, structure: Structure | CircuitFeeder) -> Complex:
        """(n, 3) phasors of the last solution, in the order of a structure's buses; of a circuit's own all places."""
        if isinstance(structure, CircuitFeeder):
            return self.node_phasors
        if self._order is None or self._order[0] is not structure:
            order = {bus.name: k for k, bus in enumerate(self.feeder.buses)}
            self._order = structure, np.array([order[bus.name] for bus in structure.buses], dtype=np.intp)
        return np.asarray(self.node_phasors[self._order[1]])

    def source_currents(self) -> Complex:
        """(ns,) what the source's nodes are fed in the last solution, MW per unit of voltage; of a circuit's own."""
        assert isinstance(self.feeder, CircuitFeeder)
        w = self.feeder.wiring
        self._dss.Circuit.SetActiveElement(w.source)
        drawn = np.asarray(self._dss.CktElement.Currents(), dtype=float).view(complex)
        return np.asarray(-drawn[: len(w.source_nodes)] * w.base_kv[w.source_nodes] / KILO)

    def _command(self, text: str) -> None:
        self._dss.Text.Command(text)

    def _load_index(self, terminal: Terminal, member: str) -> int:
        """Index of the extra load on one leg or phase, created when first asked for."""
        key = (terminal.bus, terminal.connection, member)
        if key not in self._extra:
            bus = self.feeder.bus_by_name.get(terminal.bus)
            if (
                bus is None
                or not set(member) <= set(bus.phases)
                or (terminal.connection == "wye" and not bus.grounded)
            ):
                raise InputError(
                    "the feeder has no such place for an injection", key="injections", value=key,
                    allowed="a bus of the feeder with these phases; delta legs on three-wire buses",
                )  # fmt: skip
            load = Load(f"at:{bus.name}:{member}", bus.name, terminal.connection, member, "PQ", 0.0, 0.0)
            own = self.feeder.neutral_node(bus) if isinstance(self.feeder, CircuitFeeder) else 0
            self._command(load_command(self.feeder, load, own) + " status=fixed")
            self._extra[key] = int(self._dss.Loads.Count())
        return self._extra[key]

    def _places(self) -> _Places:
        if self._found is None:
            order = {name.lower(): k for k, name in enumerate(self._dss.Circuit.AllNodeNames())}
            buses, names = self.feeder.buses, node_names(self.feeder)
            base, neutral = np.array([KILO * b.kv_neutral for b in buses]), None
            if isinstance(self.feeder, CircuitFeeder):
                w = self.feeder.wiring
                base, neutral = KILO * w.row_kv, w.neutral[: len(buses)]
            full = np.array([len(b.phases) == 3 for b in buses])
            grounded = np.array([b.grounded for b in buses])
            self._found = _Places(
                nodes=np.array([[order.get(name, -1) for name in row] for row in names], dtype=np.intp), base=base,
                floating=full & ~grounded, full=full,
                phase=np.array([[b.grounded and x in b.phases for x in PHASES] for b in buses]),
                line=np.array([[not b.grounded and x in b.legs for x in LEGS] for b in buses]), neutral=neutral,
                buses=tuple(b.name for b in buses),
                labels=tuple((b.name, x) for b in buses for x in (b.phases if b.grounded else b.legs)),
                told=np.array([(int(b.grounded), k, PLACE[x] if b.grounded else LEGS.index(x)) for k, b in
                               enumerate(buses) for x in (b.phases if b.grounded else b.legs)], dtype=np.intp).T,
            )  # fmt: skip
        return self._found

    def _magnitudes(self) -> tuple[Complex, NDArray[np.float64], NDArray[np.float64]]:
        """(buses, 3) voltages of the last solution in the frames of the buses, and their magnitudes per unit: between
        phases, and of phases. Takes :attr:`node_phasors`."""
        places = self._places()
        volts = np.asarray(self._dss.Circuit.AllBusVolts(), dtype=float).view(complex)
        self.node_phasors = np.asarray(np.where(places.nodes >= 0, volts[places.nodes], np.nan) / places.base[:, None])
        v: Complex = in_frames(self.node_phasors[: len(self.feeder.buses)], places.floating, places.neutral)[:, :3]
        return v, np.abs(line_to_line(v)) / math.sqrt(3), np.abs(v)

    def _in_range(self, line: NDArray[np.float64], phase: NDArray[np.float64]) -> bool:
        """Whether all voltages are between 0.8 and 1.2 per unit; of a circuit itself, whose own loads have a law at any
        voltage, those where devices are."""
        places = self._places()
        of_line, of_phase = places.line, places.phase
        if isinstance(self.feeder, CircuitFeeder):
            used = {bus for bus, _, _ in self._extra}
            some = np.array([[bus.name in used] for bus in self.feeder.buses])
            of_line, of_phase = of_line & some, of_phase & some
        limited = np.concatenate([line[of_line], phase[of_phase]])
        return bool(((limited >= V_MIN) & (limited <= V_MAX)).all())

    def _read(self) -> AcSolution:
        dss, places = self._dss, self._places()
        v, line, phase = self._magnitudes()
        full = np.flatnonzero(places.full)
        rates = np.stack([vuf(v[full]), lvur(line[full]), pvur(phase[full])], axis=1)
        voltages = dict(zip(places.labels, np.stack([line, phase])[tuple(places.told)].tolist(), strict=True))
        phasors = dict(zip(places.buses, v, strict=True))
        three_phase = (places.buses[k] for k in full.tolist())
        unbalance = {bus: Unbalance(*rate) for bus, rate in zip(three_phase, rates.tolist(), strict=True)}
        power = dss.Circuit.TotalPower()
        settled = bool(dss.Solution.Converged())
        return AcSolution(
            voltages=voltages,
            phasors=phasors,
            unbalance=unbalance,
            p_source_kw=-float(power[0]),
            q_source_kvar=-float(power[1]),
            losses_kw=float(dss.Circuit.Losses()[0]) / KILO,
            converged=settled and self._in_range(line, phase),
            settled=settled,
        )


def node_names(feeder: Feeder) -> list[list[str]]:
    """OpenDSS's name of the node at each bus and place; one that the bus does not have may stand there."""
    if isinstance(feeder, CircuitFeeder):
        return [list(row) for row in feeder.wiring.names]
    return [[f"{b.name.lower()}.{k + 1}" for k in range(3)] for b in feeder.buses]
