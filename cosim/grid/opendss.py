"""AC power flow of a feeder in OpenDSS.

The circuit is built once from the feeder's tables; a step then changes only the load multiplier and the
powers of the extra loads that stand for controllable devices. Regulators stay at the taps of the tables,
controls are off, and no load turns into a constant impedance within 0.8 to 1.2 per unit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import opendssdirect
from numpy.typing import NDArray

from cosim.errors import InputError
from cosim.grid.feeder import (
    FEET_PER_MILE,
    LEGS,
    PHASES,
    Capacitor,
    Feeder,
    Line,
    LineCode,
    Load,
    Matrix,
    Regulator,
    Transformer,
)
from cosim.grid.feeder_check import check_feeder
from cosim.grid.phases import Terminal, centroid, line_to_line, lvur, pvur, vuf

Complex = NDArray[np.complex128]
LOAD_MODEL = {"PQ": 1, "Z": 2, "I": 5}
KILO = 1000.0
FREQUENCY_HZ = 60.0
NANOFARAD = 1e3 / (2 * math.pi * FREQUENCY_HZ)
"""Capacitance, nF, of one microsiemens."""
REGULATOR_KVA = 2000.0
V_MIN, V_MAX = 0.8, 1.2
"""Voltages, per unit, between which loads keep their model."""


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
    """

    voltages: dict[tuple[str, str], float]
    phasors: dict[str, Complex]
    unbalance: dict[str, Unbalance]
    p_source_kw: float
    q_source_kvar: float
    losses_kw: float
    converged: bool


class AcCircuit:
    """A feeder as an OpenDSS circuit of its own; several may live side by side in one process."""

    def __init__(self, feeder: Feeder) -> None:
        """Build the circuit.

        Raises:
            InputError: the feeder does not pass its check.
        """
        check_feeder(feeder)
        self.feeder = feeder
        self._dss: Any = opendssdirect.dss.NewContext()
        # Otherwise the engine moves the whole process to the folder it was first used in.
        self._dss.Basic.AllowChangeDir(False)
        self._compile()

    def _compile(self) -> None:
        for command in circuit_commands(self.feeder):
            self._command(command)
        self._extra: dict[tuple[str, str, str], int] = {}
        self._active: set[int] = set()
        self._places: NDArray[np.intp] | None = None

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
        self._dss.Solution.LoadMult(load_scale)
        self._dss.Solution.Solve()
        solution = self._read()
        if not solution.converged:
            self._compile()  # the next iteration must not start from these voltages
        return solution

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
            self._command(load_command(self.feeder, load) + " status=fixed")
            self._extra[key] = int(self._dss.Loads.Count())
        return self._extra[key]

    def _read(self) -> AcSolution:
        dss = self._dss
        volts = np.asarray(dss.Circuit.AllBusVolts(), dtype=float).view(complex)
        if self._places is None:
            order = {name.lower(): k for k, name in enumerate(dss.Circuit.AllNodeNames())}
            names = [[f"{b.name.lower()}.{k + 1}" for k in range(3)] for b in self.feeder.buses]
            self._places = np.array([[order.get(name, -1) for name in row] for row in names], dtype=np.intp)
        base = np.array([KILO * b.kv_base / math.sqrt(3) for b in self.feeder.buses])
        v = np.where(self._places >= 0, volts[self._places], np.nan) / base[:, None]
        floating = np.array([not b.grounded for b in self.feeder.buses])
        v = np.where(floating[:, None], centroid(v), v)
        line, phase = np.abs(line_to_line(v)) / math.sqrt(3), np.abs(v)
        rates = np.stack([vuf(v), lvur(line), pvur(phase)], axis=1)
        voltages: dict[tuple[str, str], float] = {}
        phasors: dict[str, Complex] = {}
        unbalance: dict[str, Unbalance] = {}
        for k, bus in enumerate(self.feeder.buses):
            shown = (
                zip(LEGS, line[k], strict=True) if not bus.grounded else zip(PHASES, phase[k], strict=True)
            )
            voltages |= {(bus.name, label): float(x) for label, x in shown if not np.isnan(x)}
            phasors[bus.name] = v[k]
            if len(bus.phases) == 3:
                unbalance[bus.name] = Unbalance(*map(float, rates[k]))
        power = dss.Circuit.TotalPower()
        in_range = all(V_MIN <= x <= V_MAX for x in voltages.values())
        return AcSolution(
            voltages=voltages,
            phasors=phasors,
            unbalance=unbalance,
            p_source_kw=-float(power[0]),
            q_source_kvar=-float(power[1]),
            losses_kw=float(dss.Circuit.Losses()[0]) / KILO,
            converged=bool(dss.Solution.Converged()) and in_range,
        )


def circuit_commands(feeder: Feeder) -> list[str]:
    """The feeder as OpenDSS commands."""
    commands = [
        "clear",
        f"set DefaultBaseFrequency={FREQUENCY_HZ}",
        f"new object=circuit.feeder basekv={feeder.source_kv} pu={feeder.source_pu} bus1={feeder.source_bus} "
        "phases=3 R1=0 X1=1e-6 R0=0 X0=1e-6",
    ]
    commands += [line_code_command(code) for code in feeder.line_codes]
    commands += [line_command(line, feeder) for line in feeder.lines]
    commands += [transformer_command(t) for t in feeder.transformers]
    commands += [c for r in feeder.regulators for c in regulator_commands(r, feeder)]
    commands += [load_command(feeder, load) for load in feeder.loads]
    commands += [capacitor_command(feeder, c) for c in feeder.capacitors]
    levels = sorted({bus.kv_base for bus in feeder.buses})
    commands += [
        f"set voltagebases=[{', '.join(map(repr, levels))}]",
        "calcvoltagebases",
        "set controlmode=off",
        "set maxiterations=200",
        "set tolerance=1e-8",
    ]
    return commands


def line_code_command(code: LineCode) -> str:
    """A line code by its matrices, per mile; susceptance becomes capacitance in nF."""
    return (
        f"new linecode.{code.name} nphases=3 basefreq={FREQUENCY_HZ} units=mi "
        f"rmatrix={_matrix(code.r_ohm_per_mile)} xmatrix={_matrix(code.x_ohm_per_mile)} "
        f"cmatrix={_matrix(code.b_us_per_mile, factor=NANOFARAD)}"
    )


def line_command(line: Line, feeder: Feeder) -> str:
    """A line; one with fewer phases than its code brings its own matrices."""
    nodes = _nodes(line.phases)
    ends = f"bus1={line.from_bus}{nodes} bus2={line.to_bus}{nodes}"
    head = f"new line.{line.name} phases={len(line.phases)} {ends}"
    tail = f"length={line.length_ft / FEET_PER_MILE!r} units=mi"
    if len(line.phases) == 3:
        return f"{head} linecode={line.code} {tail}"
    code = feeder.code_by_name[line.code]
    return (
        f"{head} rmatrix={_matrix(code.r_ohm_per_mile, line.phases)} "
        f"xmatrix={_matrix(code.x_ohm_per_mile, line.phases)} "
        f"cmatrix={_matrix(code.b_us_per_mile, line.phases, NANOFARAD)} {tail}"
    )


def transformer_command(t: Transformer) -> str:
    """A two-winding three-phase transformer; its resistance is split between the windings."""
    return (
        f"new transformer.{t.name} phases=3 windings=2 xhl={t.x_percent} "
        f"wdg=1 bus={t.from_bus} conn={t.conn_high} kv={t.kv_high} kva={t.kva} %r={t.r_percent / 2} "
        f"wdg=2 bus={t.to_bus} conn={t.conn_low} kv={t.kv_low} kva={t.kva} %r={t.r_percent / 2}"
    )


def regulator_commands(r: Regulator, feeder: Feeder) -> list[str]:
    """One nearly lossless single-phase unit per tap, and the through conductor of an open-delta bank."""
    kv = feeder.bus_by_name[r.from_bus].kv_base
    commands = []
    for unit in r.taps:
        nodes = _nodes(unit) if r.connection == "open-delta" else _nodes(unit) + ".0"
        connection = "delta" if r.connection == "open-delta" else "wye"
        rated = kv if r.connection == "open-delta" else kv / math.sqrt(3)
        commands.append(
            f"new transformer.{r.name}-{unit} phases=1 windings=2 "
            f"buses=({r.from_bus}{nodes} {r.to_bus}{nodes}) conns='{connection} {connection}' "
            f"kvs='{rated!r} {rated!r}' kvas='{REGULATOR_KVA} {REGULATOR_KVA}' "
            f"xhl=0.001 %loadloss=0.0001 ppm=0 wdg=2 tap={r.ratio(unit)!r}"
        )
    if r.connection == "open-delta":
        shared = _nodes(next(iter(r.taps))[1])
        commands.append(
            f"new line.{r.name}-through phases=1 bus1={r.from_bus}{shared} bus2={r.to_bus}{shared} "
            "r0=1e-3 r1=1e-3 x0=0 x1=0 c0=0 c1=0"
        )
    return commands


def load_command(feeder: Feeder, load: Load) -> str:
    """A load on one leg or phase."""
    return (
        f"new load.{load.name} bus1={load.bus}{_nodes(load.phases)} phases=1 conn={load.connection} "
        f"model={LOAD_MODEL[load.model]} kv={_rated_kv(feeder, load)!r} "
        f"kw={load.p_kw!r} kvar={load.q_kvar!r} "
        f"vminpu={V_MIN} vmaxpu={V_MAX}"
    )


def capacitor_command(feeder: Feeder, c: Capacitor) -> str:
    """A capacitor on one leg or phase."""
    to = f"bus2={c.bus}{_nodes(c.phases[1])}" if c.connection == "delta" else ""
    kv = _rated_kv(feeder, c)
    return f"new capacitor.{c.name} bus1={c.bus}{_nodes(c.phases[0])} {to} phases=1 kv={kv!r} kvar={c.kvar!r}"


def _rated_kv(feeder: Feeder, device: Load | Capacitor) -> float:
    kv = feeder.bus_by_name[device.bus].kv_base
    return kv if device.connection == "delta" else kv / math.sqrt(3)


def _nodes(phases: str) -> str:
    return "".join(f".{PHASES.index(x) + 1}" for x in phases)


def _matrix(matrix: Matrix, phases: Sequence[str] = PHASES, factor: float = 1.0) -> str:
    """Lower triangle of the rows of some phases."""
    places = [PHASES.index(x) for x in phases]
    rows = (" ".join(repr(matrix[i][k] * factor) for k in places[: n + 1]) for n, i in enumerate(places))
    return "(" + " | ".join(rows) + ")"
