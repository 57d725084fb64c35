"""How fast a window of market steps is cleared and priced at every node, whatever the feeder's size.

    python -m cosim.experiments.benchmarks.clearing ieee37 ieee123 path/to/Master.dss --steps 24

Data centers and generators stand on three-phase medium-voltage buses all over the feeder. Each step has a load, a
price and a linearisation of its own. ``set-up``: what happens once per window (linearise, solve for the inputs, drop
the rows that cannot bind, and the first solve). ``per step``: new demand of the data centers, the optimum, the
network's states, and energy, loss, voltage and congestion prices of P and Q at every node.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from cosim.agents.dso.clearing import ClearingModel, Limits
from cosim.agents.dso.linearisation import Linearisation
from cosim.agents.dso.resources.generator import Generator
from cosim.agents.dso.resources.resource import Resource, Site
from cosim.agents.dso.window import WindowClearing
from cosim.experiments.studies.common import print_table
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.linear import lindist3flow
from cosim.grid.linear.response import strongest_response
from cosim.grid.opendss.importer.importer import import_feeder
from cosim.protocol.roles import Array
from cosim.scenario.calendar import MarketCalendar
from cosim.scenario.schema import GeneratorSpec, NetworkSpec
from cosim.scenario.series.spec import SeriesSpec
from cosim.scenario.series.units import Quantity

LOW_KV, HIGH_KV = 1.0, 50.0
SHARE = 0.3
"""Data centers, and generators, each have this share of the base load together."""
RATIO = 0.3286841
"""Mvar per MW at a power factor of 0.95."""


@dataclass(frozen=True)
class Case:
    """A feeder with what the operator dispatches and what it serves."""

    feeder: Feeder
    terminals: tuple[Terminal, ...]
    resources: tuple[Resource, ...]
    p_max_mw: float


def case_of(feeder: Feeder, centers: int = 10, units: int = 20) -> Case:
    """Data centers and generators, each on a bus of its own, spread over the three-phase medium-voltage buses."""
    buses = [b for b in feeder.buses if len(b.phases) == 3 and LOW_KV < b.kv_base < HIGH_KV]
    buses = [b for b in buses if b.name != feeder.source_bus]
    places = np.linspace(0, len(buses) - 1, min(centers + units, len(buses))).round().astype(int)
    at_centers = places[:: max(1, len(places) // centers)][:centers]
    at_units = [k for k in places if k not in set(at_centers)][:units]
    kw = SHARE * feeder.load_kw
    specs = [
        GeneratorSpec(
            name=f"dg{k}", bus=buses[k].name, p_max_kw=kw / len(at_units), s_kva=1.1 * kw / len(at_units),
            cost_usd_per_mwh=30.0 + 10.0 * i / len(at_units), cost_usd_per_mw2h=20.0,
        )
        for i, k in enumerate(at_units)
    ]  # fmt: skip
    terminals = tuple(
        Terminal(b.name, "wye", b.phases) if b.grounded else Terminal(b.name, "delta", b.legs)
        for b in (buses[k] for k in at_centers)
    )
    calendar = MarketCalendar(datetime(2024, 7, 15), 3600, 24, 24, "day_ahead", 1800, 5)
    site = Site(feeder, calendar, "generators", _no_series)
    return Case(feeder, terminals, tuple(Generator(spec, site) for spec in specs), kw / 1000 / len(terminals))


def _no_series(spec: SeriesSpec, key: str, least: float, largest: float, quantity: Quantity | None) -> Array:
    raise NotImplementedError("these generators have no series")


def limits_of(feeder: Feeder, cap_usd_per_mwh: float = 2000.0) -> Limits:
    """Voltage within 5 % of nominal, softened at the price cap."""
    penalty = cap_usd_per_mwh / strongest_response(feeder)
    return Limits(0.95, 1.05, cap_usd_per_mwh, penalty, {}, 0.0, ())


class Stopwatch:
    """Seconds by what was done; a second measurement of the same thing is added.

    Args:
        clock: of the wall, or of this process.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._last = clock()

    def lap(self, name: str) -> None:
        """Time since the last lap belongs to this."""
        now = self._clock()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def measure(name: str, model: str = "ac-linear", steps: int = 24, rounds: int = 3) -> dict[str, object]:
    """One feeder: seconds of every part.

    Args:
        name: shipped feeder, folder of tables, or OpenDSS script.
        model: network model of the scenario.
        steps: length of the window.
        rounds: how often the window is cleared and priced at a new demand.
    """
    watch = Stopwatch()
    feeder = import_feeder(name).feeder if name.lower().endswith(".dss") else read_feeder(name)
    watch.lap("import")
    return clear(feeder, model, steps, rounds, watch)


def clear(feeder: Feeder, model: str, steps: int, rounds: int, watch: Stopwatch) -> dict[str, object]:
    """Clear and price a window of a feeder, and say how long every part took."""
    case, rng = case_of(feeder), np.random.default_rng(1)
    spec = NetworkSpec(feeder=feeder.name, model=model, load_scale=SeriesSpec(constant=1.0))  # type: ignore[arg-type]
    linearisation = Linearisation(feeder, spec)
    first = linearisation.first(1.0)
    clearing = ClearingModel(first, case.terminals, case.resources, limits_of(feeder), 1.0)
    watch.lap("compile")
    scale = 0.5 + 0.4 * np.sin(np.linspace(0, np.pi, steps))
    price = 35.0 + 20.0 * rng.random(steps)
    demand = case.p_max_mw * (0.3 + 0.5 * rng.random((rounds, steps, len(case.terminals))))
    starts = [None] * steps
    points = [[(t, p, RATIO * p) for t, p in zip(case.terminals, row, strict=True)] for row in demand[0]]
    networks = linearisation.at([feeder] * steps, scale.tolist(), points, starts)
    watch.lap("linearise")
    own = clearing.own(0, price).steps
    reduced = clearing.reduced(networks, own)
    watch.lap("solve for inputs")
    most = np.full((steps, len(case.terminals)), case.p_max_mw)
    labels = [[f"p{k}@{t}" for k in range(len(case.terminals))] for t in range(steps)]
    ratio = np.full(len(case.terminals), RATIO)
    window = WindowClearing(clearing, networks, reduced, ratio, np.zeros_like(most), most, labels)
    watch.lap("screen")
    window.solve(demand[0])
    watch.lap("first solve")
    setup = sum(watch.seconds[part] for part in ("linearise", "solve for inputs", "screen", "first solve"))
    priced = 0
    for p_mw in demand:
        solution = window.solve(p_mw)
        watch.lap("clear")
        for t in range(steps):
            priced = len(window.step(t, p_mw, solution, 1.0).prices.nodes)
        watch.lap("price")
    per_step = (watch.seconds["clear"] + watch.seconds["price"]) / rounds / steps
    rows = len(window.follower.ineq_rows) / steps
    return {
        "feeder": feeder.name, "nodes": len(lindist3flow.nodes_of(feeder)), "priced": priced, "model": model,
        **{k: round(v, 4) for k, v in watch.seconds.items() if k not in ("clear", "price")},
        "set-up s": round(setup, 3), "rows a step": round(rows, 1),
        "clear ms": round(1e3 * watch.seconds["clear"] / rounds / steps, 2),
        "price ms": round(1e3 * watch.seconds["price"] / rounds / steps, 2), "per step s": round(per_step, 5),
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each feeder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("feeders", nargs="*", default=["ieee37", "ieee123"])
    parser.add_argument("--model", default="ac-linear", choices=["ac-linear", "lindist3flow"])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    for name in options.feeders:
        found = measure(name, options.model, options.steps, options.rounds)
        print_table(str(found["feeder"]), [{"what": k, "value": v} for k, v in found.items()])


if __name__ == "__main__":
    main()
