"""A feeder by itself: a map, and a summary in lines."""

from __future__ import annotations

import math
from collections import Counter

import pandas as pd
from matplotlib.figure import Figure

from cosim.grid.feeder.circuit import CircuitFeeder
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.positions import positions_of
from cosim.grid.opendss.circuit import AcCircuit, AcSolution
from cosim.results.figures.maps import feeder_map
from cosim.results.layout import layout_of_feeder


def base_case_map(feeder: Feeder, solution: AcSolution) -> Figure:
    """The feeder, each bus coloured by its lowest voltage in an AC solution."""
    lowest: dict[str, float] = {}
    for (bus, _), v in solution.voltages.items():
        lowest[bus] = min(v, lowest.get(bus, math.inf))
    units: list[dict[str, object]] = [
        {"unit": g.name, "kind": g.kind, "bus": g.bus, "phase": g.phases} for g in feeder.generators
    ]
    title = f"{feeder.name}: base case"
    return feeder_map(layout_of_feeder(feeder, units), pd.Series(lowest), "lowest voltage, AC (pu)", title)


def summary(feeder: Feeder) -> tuple[list[tuple[str, str]], AcSolution]:
    """What the feeder is made of and how its base case looks, as (what, value) lines, and the AC solution."""
    solution = AcCircuit(feeder).solve()
    three_wire = sum(not b.grounded for b in feeder.buses)
    split = sum(b.split for b in feeder.buses)
    levels = ", ".join(f"{kv:g}" for kv in sorted({b.kv_base for b in feeder.buses}, reverse=True))
    nodes = sum(len(b.phases) for b in feeder.buses)
    lines = [
        ("buses", f"{len(feeder.buses)} ({nodes} nodes; {three_wire} buses without neutral, {split} split-phase)"),
        ("voltage levels", f"{levels} kV"),
        *(_of_circuit(feeder) if isinstance(feeder, CircuitFeeder) else _of_tables(feeder)),
        ("loads", f"{len(feeder.loads)}, {feeder.load_kw:.6g} kW + {feeder.load_kvar:.6g} kvar"),
        ("generators", f"{len(feeder.generators)}, {sum(g.p_kw for g in feeder.generators):.6g} kW"),
    ]
    if solution.converged:
        volts = solution.voltages.values()
        lines += [
            ("import, AC", f"{solution.p_source_kw:.1f} kW + {solution.q_source_kvar:.1f} kvar"),
            ("losses, AC", f"{solution.losses_kw:.1f} kW"),
            ("voltage, AC", f"{min(volts):.4f} to {max(volts):.4f} pu"),
        ]
    else:
        lines.append(("AC power flow", "did not converge within 0.8 to 1.2 pu"))
    return lines, solution


def _of_tables(feeder: Feeder) -> list[tuple[str, str]]:
    return [
        ("lines", f"{len(feeder.lines)} of {len(feeder.line_codes)} codes"),
        ("transformers", str(len(feeder.transformers))),
        ("regulators", "; ".join(_taps(r.name, dict(r.taps)) for r in feeder.regulators) or "none"),
        ("capacitors", f"{len(feeder.capacitors)}, {sum(c.kvar_on for c in feeder.capacitors):g} kvar"),
        ("controls", f"{len(feeder.regulator_controls)} of regulators, {len(feeder.capacitor_controls)} of capacitors"),
    ]


def _of_circuit(feeder: CircuitFeeder) -> list[tuple[str, str]]:
    """Its branches by class, what its controls move from where, and what there is to remark."""
    kinds = Counter(e.name.partition(".")[0] for e in feeder.elements)
    stand = positions_of(feeder)
    moving = {
        "regulators move": [_taps(name, {unit: tap}) for name, unit, tap in stand.taps],
        "capacitors move": [f"{name} {on} in service" for name, on in stand.steps],
    }
    return [
        ("branches", ", ".join(f"{count} {kind}" for kind, count in kinds.items())),
        *((what, "; ".join(found)) for what, found in moving.items() if found),
        *(("remark", text) for text in feeder.notes_of_reading),
    ]


def _taps(name: str, taps: dict[str, int]) -> str:
    return f"{name} {', '.join(f'{unit} {tap:+d}' for unit, tap in taps.items())}"
