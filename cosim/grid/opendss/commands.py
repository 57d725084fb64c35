"""A feeder as OpenDSS commands."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from cosim.grid.feeder.feeder import (
    BY_EXPONENTS,
    FEET_PER_MILE,
    PLACE,
    UNGROUNDED,
    Capacitor,
    Feeder,
    Generator,
    Line,
    LineCode,
    Load,
    Matrix,
    Regulator,
    Transformer,
)

LOAD_MODEL = {"PQ": 1, "Z": 2, "I": 5, BY_EXPONENTS: 4}
FREQUENCY_HZ = 60.0
NANOFARAD = 1e3 / (2 * math.pi * FREQUENCY_HZ)
"""Capacitance, nF, of one microsiemens."""
IDEAL_KVA, IDEAL_PERCENT = 2000.0, (0.0001, 0.001)
"""Rating of a regulator unit without impedance, and the little resistance and reactance OpenDSS needs, percent."""
V_MIN, V_MAX = 0.8, 1.2
"""Voltages, per unit, between which loads keep their model."""


def circuit_commands(
    feeder: Feeder, loads: bool = True, instead: Mapping[tuple[str, str], Sequence[str]] | None = None
) -> list[str]:
    """The feeder as OpenDSS commands, controls off.

    Args:
        loads: without loads and generators it is the linear network alone.
        instead: other commands for some lines, regulators and capacitors, by table and name.
    """
    other = instead or {}
    commands = [
        "clear",
        f"set DefaultBaseFrequency={FREQUENCY_HZ}",
        f"new object=circuit.feeder basekv={feeder.source_kv} pu={feeder.source_pu} bus1={feeder.source_bus} "
        "phases=3 R1=0 X1=1e-6 R0=0 X0=1e-6",
    ]
    commands += [line_code_command(code) for code in feeder.line_codes]
    for line in feeder.lines:
        commands += other.get(("lines", line.name), [line_command(line, feeder)])
    neutrals = floating_neutrals(feeder)
    commands += [c for t in feeder.transformers for c in transformer_commands(t, neutrals)]
    for r in feeder.regulators:
        commands += other.get(("regulators", r.name), regulator_commands(r, feeder))
    if loads:
        commands += [load_command(feeder, load) for load in feeder.loads]
        commands += [generator_command(feeder, unit) for unit in feeder.generators]
    for c in feeder.capacitors:
        commands += other.get(("capacitors", c.name), [capacitor_command(feeder, c)])
    levels = sorted({bus.kv_neutral * math.sqrt(3) if bus.split else bus.kv_base for bus in feeder.buses})
    commands += [
        f"set voltagebases=[{', '.join(map(repr, levels))}]",
        "calcvoltagebases",
        "set controlmode=off",
        "set maxiterations=200",
        "set tolerance=1e-10",
    ]
    return [command for command in commands if command]


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


def floating_neutrals(feeder: Feeder) -> dict[tuple[str, str], int]:
    """Nodes beyond the phases that stand for floating neutrals: number by transformer and side, ``high`` or ``low``."""
    found: dict[tuple[str, str], int] = {}
    used: Counter[str] = Counter()
    for t in feeder.transformers:
        for side, bus, connection in (("high", t.from_bus, t.conn_high), ("low", t.to_bus, t.conn_low)):
            if connection == UNGROUNDED:
                used[bus] += 1
                found[t.name, side] = 3 + used[bus]
    return found


def transformer_commands(t: Transformer, neutrals: Mapping[tuple[str, str], int]) -> list[str]:
    """A three-phase transformer, or one per unit of a bank; resistance is split between two windings.

    OpenDSS lets the lower voltage lag; here it is the side of ``to_bus``. It has the core at the second winding, so
    the windings change places where the core is at the high side.

    Args:
        neutrals: nodes of floating neutrals (:func:`floating_neutrals`).
    """
    core = f"%noloadloss={t.no_load_percent!r} %imag={t.magnetizing_percent!r}"
    half = t.r_percent / 2
    conn_high, conn_low = (c.removesuffix("-ungrounded") for c in (t.conn_high, t.conn_low))
    neutral_high, neutral_low = (neutrals.get((t.name, side), 0) for side in ("high", "low"))
    if t.three_phase:
        start, end = (
            f"{bus}.1.2.3.{node}" if node else bus
            for bus, node in ((t.from_bus, neutral_high), (t.to_bus, neutral_low))
        )
        # of equal voltages the first winding's leads
        low_leads = t.kv_high < t.kv_low or (t.kv_high == t.kv_low and t.core_side == "high")
        lead = " leadlag=lead" if conn_high != conn_low and low_leads else ""
        both = _in_turn(
            t,
            f"bus={start} conn={conn_high} kv={t.kv_high!r} kva={t.kva!r} %r={half!r}",
            f"bus={end} conn={conn_low} kv={t.kv_low!r} kva={t.kva!r} %r={half!r}",
        )
        return [f"new transformer.{t.name} phases=3 windings=2 xhl={t.x_percent!r} {core} {both}{lead}"]
    commands = []
    kva = t.kva / len(t.windings)
    for high, low in t.windings:
        first = f"bus={t.from_bus}{_across(high, neutral_high)} conn={conn_high} kv={t.kv_high!r} kva={kva!r}"
        if t.conn_low == "split":
            r = t.r_low_percent
            halves = " ".join(
                f"wdg={w} bus={t.to_bus}{nodes} conn=wye kv={t.kv_low!r} kva={kva!r} %r={r!r}"
                for w, nodes in ((2, ".1.0"), (3, ".0.2"))
            )
            commands.append(
                f"new transformer.{t.name}-{high} phases=1 windings=3 xhl={t.x_percent!r} xht={t.x_percent!r} "
                f"xlt={t.x_low_percent!r} {core} wdg=1 {first} %r={t.r_percent - r!r} {halves}"
            )
            continue
        second = f"bus={t.to_bus}{_across(low, neutral_low)} conn={conn_low} kv={t.kv_low!r} kva={kva!r} %r={half!r}"
        both = _in_turn(t, f"{first} %r={half!r}", second)
        commands.append(f"new transformer.{t.name}-{high} phases=1 windings=2 xhl={t.x_percent!r} {core} {both}")
    return commands


def _in_turn(t: Transformer, high: str, low: str) -> str:
    """Both windings, the one with the core second."""
    first, second = (low, high) if t.core_side == "high" else (high, low)
    return f"wdg=1 {first} wdg=2 {second}"


def regulator_commands(r: Regulator, feeder: Feeder) -> list[str]:
    """One single-phase unit per tap, and the through conductor of an open-delta bank."""
    bus = feeder.bus_by_name[r.from_bus]
    delta = r.connection == "open-delta"
    rated, connection = (bus.kv_base, "delta") if delta else (bus.kv_neutral, "wye")
    commands = [
        f"new transformer.{r.name}-{unit} phases=1 windings=2 "
        f"buses=({r.from_bus}{_across(unit)} {r.to_bus}{_across(unit)}) conns='{connection} {connection}' "
        f"{_windings(r, unit, rated, 1)}"
        for unit in r.taps
    ]
    if delta:
        shared = _nodes(next(iter(r.taps))[1])
        commands.append(
            f"new line.{r.name}-through phases=1 bus1={r.from_bus}{shared} bus2={r.to_bus}{shared} "
            "r0=1e-3 r1=1e-3 x0=0 x1=0 c0=0 c1=0"
        )
    return commands


def together_command(r: Regulator, feeder: Feeder) -> str:
    """The units of a wye regulator as one transformer, whose windings share a tap."""
    bus, units = feeder.bus_by_name[r.from_bus], tuple(r.taps)
    nodes = _nodes("".join(units)) + ".0"
    rated = bus.kv_neutral if len(units) == 1 else bus.kv_neutral * math.sqrt(3)
    return (
        f"new transformer.{r.name} phases={len(units)} windings=2 "
        f"buses=({r.from_bus}{nodes} {r.to_bus}{nodes}) conns='wye wye' "
        f"{_windings(r, units[0], rated, len(units))}"
    )


def _windings(r: Regulator, unit: str, rated_kv: float, phases: int) -> str:
    """Rating, impedance and tap of a regulator's windings."""
    kva = (r.kva or IDEAL_KVA) * phases
    loss, x = IDEAL_PERCENT if r.kva is None else (r.r_percent, r.x_percent)
    return (
        f"kvs='{rated_kv!r} {rated_kv!r}' kvas='{kva!r} {kva!r}' "
        f"xhl={x!r} %loadloss={loss!r} ppm=0 wdg=2 tap={r.ratio(unit)!r}"
    )


def load_command(feeder: Feeder, load: Load, neutral: int = 0) -> str:
    """A load on one leg or phase; ``neutral`` is the node that it returns to from a phase."""
    back = f".{neutral}" if neutral and load.connection == "wye" else ""
    by_p, by_q = load.exponents
    exponents = f"cvrwatts={by_p!r} cvrvars={by_q!r} " if load.model == BY_EXPONENTS else ""
    return (
        f"new load.{load.name} bus1={load.bus}{_nodes(load.phases)}{back} phases=1 conn={load.connection} "
        f"model={LOAD_MODEL[load.model]} kv={_rated_kv(feeder, load)!r} "
        f"kw={load.p_kw!r} kvar={load.q_kvar!r} {exponents}"
        f"vminpu={V_MIN} vmaxpu={V_MAX}"
    )


def generator_command(feeder: Feeder, unit: Generator) -> str:
    """Fixed generation: a load of less than nothing that the load multiplier leaves alone."""
    load = Load(f"gen:{unit.name}", unit.bus, unit.connection, unit.phases, "PQ", -unit.p_kw, -unit.q_kvar)
    return load_command(feeder, load) + " status=fixed"


def capacitor_command(feeder: Feeder, c: Capacitor) -> str:
    """A capacitor, or for less than 0 kvar a reactor, on one leg or phase."""
    to = f"bus2={c.bus}{_nodes(c.phases[1])}" if c.connection == "delta" else ""
    kind = "capacitor" if c.kvar >= 0 else "reactor"
    kv = _rated_kv(feeder, c)
    head = f"new {kind}.{c.name} bus1={c.bus}{_nodes(c.phases[0])} {to} phases=1 kv={kv!r}"
    if c.steps == c.steps_on == 1:
        return f"{head} kvar={abs(c.kvar)!r}"
    if kind == "reactor":
        return f"{head} kvar={abs(c.kvar_on)!r}" if c.steps_on else ""
    return f"{head} {steps_of(c, c.kvar)}"


def switched_command(feeder: Feeder, members: Sequence[Capacitor], name: str) -> str:
    """Capacitors that switch together as one: wye on some phases, or delta on one leg or all three."""
    first, phases = members[0], "".join(c.phases for c in members)
    bus, total = feeder.bus_by_name[first.bus], steps_of(first, sum(c.kvar for c in members))
    if first.connection == "delta":
        if len(members) == 1:
            nodes = f"bus1={first.bus}{_nodes(phases[0])} bus2={first.bus}{_nodes(phases[1])} phases=1"
        else:
            nodes = f"bus1={first.bus} phases=3 conn=delta"
        return f"new capacitor.{name} {nodes} kv={bus.kv_base!r} {total}"
    kv = bus.kv_neutral * (1.0 if len(members) == 1 else math.sqrt(3))
    return f"new capacitor.{name} bus1={first.bus}{_nodes(phases)} phases={len(members)} kv={kv!r} {total}"


def steps_of(c: Capacitor, kvar: float) -> str:
    """The steps of a capacitor of ``kvar`` in all, those in service first."""
    each = " ".join([repr(kvar / c.steps)] * c.steps)
    return f"numsteps={c.steps} kvar=[{each}] {states_of(c)}"


def states_of(c: Capacitor) -> str:
    """Which steps are in service, those in service first."""
    return f"states=[{' '.join('1' if k < c.steps_on else '0' for k in range(c.steps))}]"


def _rated_kv(feeder: Feeder, device: Load | Capacitor) -> float:
    bus = feeder.bus_by_name[device.bus]
    return bus.kv_base if device.connection == "delta" else bus.kv_neutral


def _nodes(phases: str) -> str:
    return "".join(f".{PLACE[x] + 1}" for x in phases)


def _across(member: str, neutral: int = 0) -> str:
    """Nodes of a winding across a leg, or from a phase to the neutral."""
    return _nodes(member) if len(member) == 2 else f"{_nodes(member)}.{neutral}"


def _matrix(matrix: Matrix, phases: Sequence[str] = "abc", factor: float = 1.0) -> str:
    """Lower triangle of the rows of some phases."""
    places = [PLACE[x] for x in phases]
    rows = (" ".join(repr(matrix[i][k] * factor) for k in places[: n + 1]) for n, i in enumerate(places))
    return "(" + " | ".join(rows) + ")"
