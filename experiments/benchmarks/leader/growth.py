"""How the time of the leader's optimum grows, and what windows that roll on save.

    python -m cosim.experiments.benchmarks.leader.growth --out results/leader_growth

Random days (see `instances`) that grow in one direction at a time: hours, data centers, generators, and voltage
limits that bind or not. Then consecutive windows of `ieee37_stress`, an hour apart, each solved alone and with what the
window before left. Times are of one processor, the median over seeds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from cosim import RunFailure
from cosim.coordination.leaders import schedules, stackelberg_problem
from cosim.coordination.welfare import optimum
from cosim.experiments.benchmarks.leader.instances import Shape, instance
from cosim.experiments.studies.common import growth_exponent, leave_growth, print_table
from cosim.optimization.bilevel.solver import solve
from cosim.optimization.bilevel.tree.cache import SearchCache
from cosim.results.figures.style import COLOURS, GREY, new_figure, style
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation

BASE = Shape(sites=5, generators=6, steps=24, tight=False)
DIRECTIONS: dict[str, Sequence[int]] = {
    "steps": (6, 12, 24, 48, 96), "sites": (2, 5, 10, 20, 34), "generators": (3, 6, 12, 24, 35),
}  # fmt: skip
LABELS = {"steps": "time steps", "sites": "data centers", "generators": "generators"}


def measure(
    seeds: Sequence[int] = (0, 1, 2), gap: float = 1e-3, time_limit_s: float = 30.0, slope: float = 2.0
) -> list[dict[str, object]]:
    """One row per direction, size and kind of voltage limits; the share of days that were closed in time beside it."""
    rows: list[dict[str, object]] = []
    for direction, sizes in DIRECTIONS.items():
        for tight in (False, True):
            for size in sizes:
                shape = replace(BASE, **{direction: size}, slope=slope, tight=tight)
                times, closed = [], 0
                for seed in seeds:
                    started = time.process_time()
                    try:
                        closed += solve(instance(shape, seed), gap=gap, time_limit_s=time_limit_s).status == "optimal"
                    except RunFailure:
                        pass
                    times.append(time.process_time() - started)
                rows.append(
                    {
                        "direction": direction, "size": size, "limits": "bind" if tight else "loose",
                        "median s": round(float(np.median(times)), 3), "closed": f"{closed} of {len(seeds)}",
                    }
                )  # fmt: skip
    return rows


def rolling(windows: int = 6, hours: int = 24, gap: float = 1e-3, losses: bool = True) -> list[dict[str, object]]:
    """One row per window of `ieee37_stress`: processor time alone and with cache, and both costs."""
    changes = {
        "clock.market": "rolling", "clock.steps": hours, "clock.window_steps": hours - windows, "clock.gate_s": 600,
        "network.losses": losses,
    }  # fmt: skip
    simulation = Simulation(prepare(*load_scenario("ieee37_stress", changes)))
    market, cache, last = simulation.market, SearchCache(), dict[str, float]()
    rows: list[dict[str, object]] = []
    for window in list(simulation.prepared.calendar.windows())[:windows]:
        market.operator.open_window(window, market.declared(window))
        problem, start = stackelberg_problem(market), optimum(market).p_mw.ravel()
        began = time.process_time()
        alone = solve(problem, gap=gap, start=start)
        middle = time.process_time()
        names = problem.follower.parameters
        near = np.array([last.get(name, p) for name, p in zip(names, start, strict=True)])
        after = solve(problem, gap=gap, start=near, cache=cache)
        rows.append(
            {
                "losses": losses, "window": window.first, "alone s": round(middle - began, 3),
                "after the last s": round(time.process_time() - middle, 3), "hours known": cache.reused,
                "alone USD": round(alone.leader_cost, 3), "after USD": round(after.leader_cost, 3),
            }
        )  # fmt: skip
        last = dict(zip(names, after.theta.tolist(), strict=True))
        for a, schedule, p_mw in schedules(market, problem, after):
            a.adopt(p_mw, schedule)
            a.commit(window.first)
    return rows


def figure(rows: Sequence[dict[str, object]]) -> Figure:
    """Median time against size in each direction, with a line of linear growth; crosses where a day stayed open."""
    with style():
        drawn = new_figure(4.0, "How the time of the leader's optimum grows", 11.0)
        for axes, direction in zip(drawn.subplots(1, 3, sharey=True), DIRECTIONS, strict=True):
            for limits, colour in (("loose", COLOURS[0]), ("bind", COLOURS[1])):
                mine = [r for r in rows if r["direction"] == direction and r["limits"] == limits]
                sizes, times = ([float(str(r[key])) for r in mine] for key in ("size", "median s"))
                axes.plot(sizes, times, "o-", color=colour, ms=4, label=f"voltage limits {limits}")
                open_days = [k for k, r in enumerate(mine) if len(set(str(r["closed"]).split(" of "))) > 1]
                axes.plot([sizes[k] for k in open_days], [times[k] for k in open_days], "x", color=colour, ms=9)
                if limits == "loose":
                    line = [times[0] * s / sizes[0] for s in sizes]
                    axes.plot(sizes, line, "--", color=GREY, lw=1, label="linear growth")
            axes.set(xscale="log", yscale="log", xlabel=LABELS[direction])
            axes.xaxis.set_major_locator(FixedLocator([float(size) for size in DIRECTIONS[direction]]))
            axes.xaxis.set_major_formatter(FormatStrFormatter("%d"))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.grid(True, which="major")
            if direction == "steps":
                axes.set(ylabel="seconds of one processor, median")
                axes.legend(fontsize=8)
    return drawn


def exponents(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Exponent of growth from the smallest to the largest size of each direction, where limits are loose."""
    out: list[dict[str, object]] = []
    for direction in DIRECTIONS:
        mine = [r for r in rows if r["direction"] == direction and r["limits"] == "loose"]
        first, last = mine[0], mine[-1]
        sizes, times = ([float(str(r[key])) for r in (first, last)] for key in ("size", "median s"))
        out.append({"direction": direction, "exponent": growth_exponent(sizes, times)})
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--time-limit", type=float, default=30.0, metavar="S", help="of each solve")
    parser.add_argument("--out", default="results/leader_growth")
    options = parser.parse_args(arguments)
    for losses in (True, False):
        print_table("windows of ieee37_stress that roll on", rolling(losses=losses))
    rows = measure(range(options.seeds), time_limit_s=options.time_limit)
    print_table("random days, base 5 x 6 x 24", rows)
    print_table("time ~ size^exponent", exponents(rows))
    leave_growth(rows, figure(rows), options.out, "leader_growth")


if __name__ == "__main__":
    main()
