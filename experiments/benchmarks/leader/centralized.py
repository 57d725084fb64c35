"""What the leader's solver is to reach, measured: one line for each figure, with its target.

    python -m cosim.experiments.benchmarks.leader.centralized
    python -m cosim.experiments.benchmarks.leader.centralized --seeds 4 --problems path/to/problems.json
    python -m cosim.experiments.benchmarks.leader.centralized --methods --hours 4 8 24 --slopes 0 5 --time-limit 60
    python -m cosim.experiments.benchmarks.leader.centralized --repairs --hours 2 6 24

``--methods`` compares formulations and solvers on one scenario, ``--repairs`` shows what each repair of 'kkt-mccormick'
is worth. Times are wall times in seconds; the whole table takes some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosim import InputError, RunFailure
from cosim.coordination.leaders import stackelberg_problem
from cosim.coordination.welfare import optimum
from cosim.experiments.benchmarks.leader import feeders as leader_feeders
from cosim.experiments.benchmarks.leader import random_days
from cosim.experiments.benchmarks.leader.instances import Shape, instance
from cosim.experiments.benchmarks.leader.methods import measure, measure_repairs, opened
from cosim.experiments.benchmarks.leader.published import express
from cosim.experiments.studies.common import print_table
from cosim.optimization.bilevel.solver import BilevelProblem, BilevelSolution, solve

SCENARIO = "ieee37_stress"
# Sites x generators x steps of random days, and the seconds that median and worst may take.
DAYS = (
    ((10, 12, 24), 1.0, 10.0), ((20, 20, 24), 5.0, 60.0), ((5, 8, 96), 5.0, 60.0), ((34, 35, 24), 5.0, 60.0),
)  # fmt: skip
# How a published problem is asked: solver and complementarity.
ASKED = (("branch", "big-m"), ("scip", "big-m"), ("scip", "sos1"), ("scip", "indicator"), ("highs", "big-m"))
_RIGHT = 1e-6


@dataclass(frozen=True, slots=True)
class Line:
    """One figure: what it is about, its target, what was measured, and whether that reaches it (None: not measured)."""

    what: str
    target: str
    measured: str
    reached: bool | None

    def row(self) -> dict[str, object]:
        """As tables show it."""
        return {
            "what": self.what, "target": self.target, "measured": self.measured,
            "reached": "–" if self.reached is None else "yes" if self.reached else "NO",
        }  # fmt: skip


def published(problems: Path | None) -> Iterator[Line]:
    """Published problems by every solver that takes them."""
    what, target = "published problems, every solver that applies", "all right to 1e-6, else refused with a reason"
    if problems is None or not problems.is_file():
        yield Line(what, target, "no file of problems given (--problems)", None)
        return
    right, refused, wrong, pineda = 0, 0, [], "not in the file"
    for entry in json.loads(problems.read_text(encoding="utf-8")):
        try:
            problem = BilevelProblem(*express(entry))
        except ValueError:
            refused += 1
            continue
        for solver, complementarity in ASKED:
            try:
                found = solve(problem, solver=solver, complementarity=complementarity, gap=1e-8, time_limit_s=30)
            except InputError:
                refused += 1
                continue
            except RunFailure as error:
                wrong.append(f"{entry['name']} by {solver}: {error}")
                continue
            if abs(found.leader_cost - entry["opt"]) <= _RIGHT * max(1.0, abs(entry["opt"])):
                right += 1
            else:
                wrong.append(f"{entry['name']} by {solver}: {found.leader_cost:g}")
            if entry["name"].startswith("pineda") and solver == "branch":
                pineda = f"{found.leader_cost:.6f}"
    yield Line(what, target, f"{right} right, {refused} refused, {len(wrong)} wrong" + "; ".join(wrong), not wrong)
    yield Line("Pineda and Morales, no M given", "-102", pineda, pineda == "-102.000000")


def stress_day(limit_s: float) -> Iterator[Line]:
    """The day of the stressed feeder: the default, the paper's formulation without repairs and with all of them."""
    times: dict[str, float] = {}
    for name, slope in (("flat", 0.0), ("sloped", 5.0)):
        market = opened(SCENARIO, 24, slope)
        problem, start = stackelberg_problem(market), optimum(market).p_mw.ravel()
        runs = [solve(problem, gap=1e-4, start=start) for _ in range(3)]
        times[name] = statistics.median(run.time_s for run in runs)
        closed = all(run.gap <= 1e-4 for run in runs)
        yield Line(
            f"{SCENARIO}, 24 h, gap 1e-4, {name} price", "0.3 s", f"{times[name]:.2f} s", closed and times[name] <= 0.3
        )
    rows = measure_repairs(SCENARIO, (24,), limit_s, which=("none", "all"))
    plain, repaired = ({str(k): v for k, v in row.items()} for row in rows)
    still_open = plain["outcome"] != "optimal" or _gap(plain) > 1e-3
    ratio = limit_s / times["flat"] if still_open else float(str(plain["time s"])) / times["flat"]
    told = f"open at {limit_s:g} s with {plain.get('gap', 'no point')}" if still_open else f"{ratio:.0f} times"
    yield Line(
        "kkt-mccormick, 6 bits, SCIP, as it stands, against the default", "1,000 times, or open at its limit",
        told, still_open or ratio >= 1000,
    )  # fmt: skip
    closed = repaired["outcome"] == "optimal" and _gap(repaired) <= 1e-3
    seconds = float(str(repaired.get("time s", "inf")))
    yield Line(
        "kkt-mccormick, 6 bits, SCIP, with all repairs, gap 1e-3", "60 s",
        f"{seconds:.1f} s, gap {repaired.get('gap', '–')}", closed and seconds <= 60,
    )  # fmt: skip


def days(seeds: int) -> Iterator[Line]:
    """Random days of every size, with voltage limits that bind and loose ones."""
    for size, median_s, worst_s in DAYS:
        for tight in (True, False):
            runs = random_days.measure(size, range(seeds), tight=tight, gap=1e-3, limit_s=worst_s)
            times = [run.wall_s for run in runs]
            closed = sum(run.gap <= 1e-3 for run in runs)
            median, worst = statistics.median(times), max(times)
            yield Line(
                f"{'x'.join(map(str, size))}, limits {'bind' if tight else 'loose'}, {seeds} days, gap 1e-3",
                f"median {median_s:g} s, worst {worst_s:g} s",
                f"median {median:.2f} s, worst {worst:.1f} s, {closed} closed",
                closed == seeds and median <= median_s and worst <= worst_s,
            )


def feeders(scripts: Sequence[str]) -> Iterator[Line]:
    """Ten data centers on other feeders, against the same on the home feeder."""
    rows = [leader_feeders.measure(name, load=0.5) for name in ("ieee37", "ieee123", *scripts)]
    home = float(str(rows[0]["solve s"]))
    for row in rows[1:]:
        what = f"{row['feeder']}, 10 data centers, 24 h, against ieee37"
        if "solve s" not in row:
            yield Line(what, "same order", str(row["outcome"]), None)
            continue
        seconds = float(str(row["solve s"]))
        told = f"{seconds:.2f} s against {home:.2f} s"
        yield Line(what, "same order", told, row["outcome"] == "optimal" and seconds <= 10 * home)


def highs_against_scip(limit_s: float) -> Iterator[Line]:
    """Strong duality by both solvers, with all repairs."""
    market = opened(SCENARIO, 24)
    cases: list[tuple[str, BilevelProblem, dict[str, Any]]] = [
        (f"{SCENARIO}, 24 h", stackelberg_problem(market), {"start": optimum(market).p_mw.ravel()})
    ]
    for seed in (0, 1):
        shape = Shape(10, 12, 24, slope=5.0 * seed)
        cases.append((f"10x12x24, seed {seed}", instance(shape, seed), {}))
    for name, problem, more in cases:
        times: list[float] = []
        for solver in ("highs", "scip"):
            try:
                found: BilevelSolution | None = solve(problem, solver=solver, gap=1e-3, time_limit_s=limit_s, **more)
            except RunFailure:
                found = None
            times.append(found.time_s if found is not None and found.gap <= 1e-3 else float("inf"))
        told = f"{times[0]:.1f} s against {times[1]:.1f} s"
        yield Line(f"HiGHS against SCIP, {name}, gap 1e-3", "10 times", told, times[0] <= 10 * times[1] < float("inf"))


def targets(seeds: int, limit_s: float, problems: Path | None, scripts: Sequence[str]) -> Iterator[Line]:
    """All figures, one after the other."""
    yield from published(problems)
    yield from stress_day(limit_s)
    yield from days(seeds)
    yield from feeders(scripts)
    yield from highs_against_scip(limit_s)


def _gap(row: dict[str, object]) -> float:
    return float(str(row.get("gap", "inf")))


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="random days of each kind")
    parser.add_argument("--problems", type=Path, metavar="FILE", help="published problems, see `published`")
    parser.add_argument("--feeders", nargs="*", default=[], metavar="DSS", help="further feeders, OpenDSS scripts")
    parser.add_argument("--methods", action="store_true", help="every formulation and solver on one scenario")
    parser.add_argument("--repairs", action="store_true", help="kkt-mccormick with and without each of its repairs")
    parser.add_argument("--scenario", default=SCENARIO)
    parser.add_argument("--hours", type=int, nargs="+", default=[4, 8, 24])
    parser.add_argument("--slopes", type=float, nargs="+", default=[0.0, 5.0], help="USD/MWh per MW")
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="S", help="of each solve of a MIP solver")
    parser.add_argument("--gap", type=float, default=1e-3)
    parser.add_argument("--bits", type=int, default=6, help="binaries per demand in kkt-mccormick")
    options = parser.parse_args()
    if options.repairs:
        table = measure_repairs(options.scenario, options.hours, options.time_limit, options.gap, options.bits)
        print_table(f"{options.scenario}: kkt-mccormick, {options.bits} bits, SCIP, gap {options.gap:g}", table)
    elif options.methods:
        rows = measure(
            options.scenario, options.hours, options.time_limit, gap=options.gap, bits=options.bits,
            slopes=options.slopes,
        )  # fmt: skip
        limit = f"at most {options.time_limit:g} s each"
        shown = [{k: v for k, v in row.items() if k != "reason"} for row in rows]
        print_table(f"{options.scenario}: the leader's optimum to {options.gap:g}, {limit}", shown)
        for row in rows:
            if "reason" in row:
                print(f"{row['method']}, {row['hours']} h, slope {row['slope']:g}: {row['reason']}")
    else:
        lines = targets(options.seeds, options.time_limit, options.problems, options.feeders)
        print_table("The leader's solver and its targets", [line.row() for line in lines])


if __name__ == "__main__":
    _main()
