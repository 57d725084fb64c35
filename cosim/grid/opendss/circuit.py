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

from cosim.constants import KILO, LEGS
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
        self._load_mult = feeder.wiring.load_mult if isinstance(feeder, CircuitFeeder) else 1.0
        self._dss = new_context()
        self._compile()

    def _compile(self) -> None:
        for command in self._commands():
            self._command(command)
        self._extra: dict[tuple[str, str, str], int] = {}
        self._active: set[int] = set()
        self._places: NDArray[np.intp] | None = None

    def _commands(self) -> list[str]:
        if isinstance(self.feeder, CircuitFeeder):
            return [*self.feeder.commands, f"edit {self.feeder.wiring.source} pu={self.feeder.source_pu!r}"]
        return circuit_commands(self.feeder)

    def move_to(self, feeder: Feeder) -> None:
        """Move regulators and capacitors to where a feeder has them that differs in nothing else."""
        if feeder is self.feeder:
            return
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
        self._dss.Solution.LoadMult(load_scale * self._load_mult)
        self._dss.Solution.Solve()
        solution = self._read()
        if not solution.converged:
            self._compile()  # the next iteration must not start from these voltages
        return solution

    def node_phasors_in(self, structure: Structure | CircuitFeeder) -> Complex:
        """(n, 3) phasors of the last solution, in the order of a structure's buses; of a circuit's own all places."""
        if isinstance(structure, CircuitFeeder):
            return self.node_phasors
        order = {bus.name: k for k, bus in enumerate(self.feeder.buses)}
        return np.asarray(self.node_phasors[[order[bus.name] for bus in structure.buses]])

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

    def _read(self) -> AcSolution:
        dss = self._dss
        volts = np.asarray(dss.Circuit.AllBusVolts(), dtype=float).view(complex)
        if self._places is None:
            order = {name.lower(): k for k, name in enumerate(dss.Circuit.AllNodeNames())}
            names = node_names(self.feeder)
            self._places = np.array([[order.get(name, -1) for name in row] for row in names], dtype=np.intp)
        base = np.array([KILO * b.kv_neutral for b in self.feeder.buses])
        neutral = None
        if isinstance(self.feeder, CircuitFeeder):
            w = self.feeder.wiring
            base, neutral = KILO * w.row_kv, w.neutral
        v = np.where(self._places >= 0, volts[self._places], np.nan) / base[:, None]
        self.node_phasors = v
        v = v[: len(self.feeder.buses)]
        floating = np.array([not b.grounded and len(b.phases) == 3 for b in self.feeder.buses])
        v = in_frames(v, floating, None if neutral is None else neutral[: len(v)])[:, :3]
        line, phase = np.abs(line_to_line(v)) / math.sqrt(3), np.abs(v)
        full = np.flatnonzero([len(b.phases) == 3 for b in self.feeder.buses])
        rates = np.stack([vuf(v[full]), lvur(line[full]), pvur(phase[full])], axis=1)
        voltages: dict[tuple[str, str], float] = {}
        phasors: dict[str, Complex] = {}
        unbalance: dict[str, Unbalance] = {}
        for k, bus in enumerate(self.feeder.buses):
            if bus.grounded:
                voltages.update({(bus.name, x): float(phase[k, PLACE[x]]) for x in bus.phases})
            else:
                voltages.update({(bus.name, x): float(line[k, LEGS.index(x)]) for x in bus.legs})
            phasors[bus.name] = v[k]
        for place, rate in zip(full.tolist(), rates.tolist(), strict=True):
            unbalance[self.feeder.buses[place].name] = Unbalance(*rate)
        power = dss.Circuit.TotalPower()
        limited = voltages.items()
        if isinstance(self.feeder, CircuitFeeder):  # its own loads have a law at any voltage, devices here do not
            used = {bus for bus, _, _ in self._extra}
            limited = [(label, x) for label, x in limited if label[0] in used]  # type: ignore[assignment]
        in_range = all(V_MIN <= x <= V_MAX for _, x in limited)
        settled = bool(dss.Solution.Converged())
        return AcSolution(
            voltages=voltages,
            phasors=phasors,
            unbalance=unbalance,
            p_source_kw=-float(power[0]),
            q_source_kvar=-float(power[1]),
            losses_kw=float(dss.Circuit.Losses()[0]) / KILO,
            converged=settled and in_range,
            settled=settled,
        )


def node_names(feeder: Feeder) -> list[list[str]]:
    """OpenDSS's name of the node at each bus and place; one that the bus does not have may stand there."""
    if isinstance(feeder, CircuitFeeder):
        return [list(row) for row in feeder.wiring.names]
    return [[f"{b.name.lower()}.{k + 1}" for k in range(3)] for b in feeder.buses]
