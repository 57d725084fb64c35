"""What the framework itself costs, beside the solvers that it calls and the interpreter that it runs in.

    python -m cosim.experiments.benchmarks.framework

Import and command line are timed in fresh processes against a bare interpreter and an import of pandas, in processor
time; opening a window against the sparse factorisations of its steps; a run in this process against the time inside QP
solvers (floor) and, per step, against the AC power flow.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import simpy
from scipy.sparse.linalg import splu

import cosim
from cosim.coordination.decentralized import Decentralized
from cosim.experiments.studies.common import print_table
from cosim.grid.opendss.circuit import AcCircuit
from cosim.optimization.solvers import backends
from cosim.optimization.solvers.active_set import ActiveSet
from cosim.protocol.roles import AggregatorAgent, OperatorAgent
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation import simulation as engine
from cosim.simulation.alone import FeederAlone
from cosim.simulation.simulation import Simulation

MODELS = ("lindist3flow", "ac-linear")


@dataclass(slots=True)
class Stopwatch:
    """Seconds and calls spent in some functions."""

    seconds: float = 0.0
    calls: int = 0
    inside: bool = False
    kept: list[tuple[Any, str, Any]] = field(default_factory=list)

    def watch(self, owner: Any, name: str) -> None:
        """Time every call of a method that comes from outside the watched ones, until :meth:`release`."""
        inner = getattr(owner, name)
        self.kept.append((owner, name, inner))

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self.inside:
                return inner(*args, **kwargs)
            self.inside, began = True, time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - began
                self.calls += 1
                self.inside = False

        setattr(owner, name, timed)

    def release(self) -> None:
        """Put the methods back as they were."""
        for owner, name, inner in self.kept:
            setattr(owner, name, inner)
        self.kept.clear()


@contextmanager
def watches() -> Iterator[dict[str, Stopwatch]]:
    """Stopwatches on the QP solvers, the AC power flow and the negotiation, for the length of a block."""
    found = {name: Stopwatch() for name in ("solvers", "ac", "negotiation", "solvers of the negotiation")}
    for solver in (backends.Piqp, backends.Daqp, backends.Highs, ActiveSet):
        found["solvers"].watch(solver, "solve")
    found["ac"].watch(AcCircuit, "solve")
    inner = Decentralized.run

    def timed(*args: Any) -> Any:
        began, solved = time.perf_counter(), found["solvers"].seconds
        outcome = yield from inner(*args)
        found["negotiation"].seconds += time.perf_counter() - began
        found["negotiation"].calls += len(outcome.rounds)
        found["solvers of the negotiation"].seconds += found["solvers"].seconds - solved
        return outcome

    setattr(Decentralized, "run", timed)  # noqa: B010
    try:
        yield found
    finally:
        setattr(Decentralized, "run", inner)  # noqa: B010
        for watch in found.values():
            watch.release()


def fresh_process_s(code: Sequence[str], repeats: int) -> float:
    """Median processor time of a fresh interpreter with these arguments, from an empty folder."""
    times = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            began = _children_s()
            subprocess.run([sys.executable, *code], cwd=folder, check=True, stdout=subprocess.DEVNULL, env=_plain())
            times.append(_children_s() - began)
    return statistics.median(times)


def _children_s() -> float:
    """Processor time of all processes that have been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _plain() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}  # users compile once
    return {**kept, "NO_COLOR": "1"}


def start_up(scenario: str, repeats: int) -> list[dict[str, object]]:
    """Fresh processes: bare interpreter (floor), import of cosim, of pandas (peer), and ``cosim run SCENARIO``."""
    command = [str(Path(sys.executable).with_name("cosim")), "run", scenario]
    work = {
        "python -c pass (floor)": (["-c", "pass"], repeats),
        "import pandas (peer)": (["-c", "import pandas"], repeats),
        "import cosim": (["-c", "import cosim"], repeats),
        "import cosim; cosim.run": (["-c", "import cosim; cosim.run"], repeats),
        f"cosim run {scenario} --no-figures": ([*command, "--no-figures"], max(1, repeats // 3)),
        f"cosim run {scenario}": (command, max(1, repeats // 3)),
    }
    times = {name: fresh_process_s(code, count) for name, (code, count) in work.items()}
    floor, peer = times["python -c pass (floor)"], times["import pandas (peer)"]
    return [
        {"fresh process": name, "median s": round(t, 3), "ratio to bare interpreter": round(t / floor, 1),
         "to pandas": round(t / peer, 1)}
        for name, t in times.items()
    ]  # fmt: skip


def openings(scenario: str, repeats: int) -> list[dict[str, object]]:
    """Opening the first window of a day by each network model, in processor time, nothing known from an earlier one.

    The floor is a sparse factorisation of each of its steps, once; the tangent is compared with LinDist3Flow too.
    """
    markets = {
        model: Simulation(prepare(*load_scenario(scenario, {"network.model": model}))) for model in MODELS
    }  # fmt: skip
    times: dict[str, list[float]] = {model: [] for model in MODELS}
    floors: dict[str, list[float]] = {model: [] for model in MODELS}
    for _ in range(max(3, repeats)):
        for model, simulation in markets.items():  # in turns, so that a machine that slows down slows both
            operator: Any = simulation.market.operators[0]
            window = next(iter(simulation.prepared.calendar.windows()))
            declared = simulation.market.declared(window)
            operator._points.drop(window.first)
            began = time.process_time()
            operator.open_window(window, declared)
            times[model].append(time.process_time() - began)
            matrices = [network.matrix for network in operator.clearing.networks]
            began = time.process_time()
            for matrix in matrices:
                splu(matrix).solve(np.ones(matrix.shape[0]))
            floors[model].append(time.process_time() - began)
    medians = {model: statistics.median(found) for model, found in times.items()}
    return [
        {
            **_row(f"opening {window.steps} steps, {model}", medians[model], statistics.median(floors[model]),
                   "factorising each step once"),
            f"to {MODELS[0]}": f"{medians[model] / medians[MODELS[0]]:.3g}",
        }
        for model in MODELS
    ]  # fmt: skip


def runs(scenario: str, mode: str, repeats: int) -> list[dict[str, object]]:
    """One run in this process, taken apart: per step and per round, with the solvers' part as the floor."""
    cosim.run(scenario, mode=mode, overrides={"clock.steps": 1})  # imports and caches
    walls, parts = [], []
    steps = 0
    for _ in range(repeats):
        with watches() as found:
            began = time.perf_counter()
            result = cosim.run(scenario, mode=mode)
            walls.append(time.perf_counter() - began)
        steps = len(result.steps)
        parts.append(found)
    wall = statistics.median(walls)

    def median(name: str, per_call: bool = False) -> float:
        return statistics.median(p[name].seconds / max(1, p[name].calls if per_call else 1) for p in parts)

    solvers, ac, rounds = median("solvers"), median("ac"), parts[0]["negotiation"].calls
    step, one_ac = wall / steps, median("ac", per_call=True)
    rows: list[dict[str, object]] = [
        _row(f"whole run, {steps} steps", wall, solvers, "QP solvers"),
        _row("per step", step, one_ac, "one AC power flow"),
        _row("AC power flow, all steps", ac, wall, "whole run"),
    ]
    if rounds:
        negotiation = median("negotiation")
        rows.append(_row(f"negotiation, {rounds} rounds", negotiation, wall, "whole run"))
        rows.append(_row("per round", negotiation / rounds, one_ac, "one AC power flow"))
        solving = median("solvers of the negotiation")
        rows.append(_row("negotiation, in QP solvers", solving, negotiation, "negotiation"))
    share = 100 * solvers / wall
    print(f"{scenario}, {mode}: {share:.1f} % of wall time inside QP solvers ({parts[0]['solvers'].calls} calls)")
    return rows


def framework_alone(scenario: str, repeats: int, rounds: int = 10) -> list[dict[str, object]]:
    """What clock, channel, protocol and books cost in a step of so many rounds at most.

    A run is recorded, then run again with agents, AC power flow and yardstick that answer from the record.
    """
    changes = {
        "mode": "decentralized", "decentralized.rule": "averaged", "decentralized.max_rounds": rounds,
        "decentralized.tolerance": 1e-15,
    }  # fmt: skip
    markets = {"day-ahead, 24 h": {}, "rolling, 4 h ahead": {"clock.market": "rolling", "clock.window_steps": 4}}
    rows = []
    for market, clock in markets.items():
        prepared = prepare(*load_scenario(scenario, {**changes, **clock}))
        simulation = Simulation(prepared)
        with recorded(_outside(simulation)) as answers:
            books = simulation.run()
        made, windows = sum(len(o.rounds) for o in books.outcomes), len(books.outcomes)
        times = []
        for _ in range(max(5, repeats)):
            again = Simulation(prepared)
            gc.collect()  # what the last run left is not this one's
            with replayed(answers):
                began = time.perf_counter()
                again.run()
                times.append((time.perf_counter() - began) / prepared.calendar.steps)
        events = 2 * rounds + 2
        name = f"per step: {market}, {made / windows:.3g} rounds a window"
        rows.append(_row(name, statistics.median(times), _events_s(events), f"{events} empty events"))
    return rows


Call = tuple[Any, str]


def _outside(simulation: Simulation) -> list[Call]:
    """All that agents do, AC power flow, of the feeder alone too, and the yardstick of the day-ahead market: owner and
    name."""
    market = simulation.market
    kinds = {type(agent) for agent in (*market.operators, *market.aggregators)}
    names = {name for name in {*vars(OperatorAgent), *vars(AggregatorAgent)} if not name.startswith("_")}
    names |= {"notes"}  # which an agent may have
    names -= {"run", "refine"}  # the agent's process is the framework's; what is refined is the very demand asked about
    calls = [(kind, name) for kind in kinds for name in sorted(names) if callable(getattr(kind, name, None))]
    ac = [(AcCircuit, "solve"), (AcCircuit, "move_to"), (FeederAlone, "solve")]
    return [*calls, *ac, (engine, "optimum")]


@contextmanager
def recorded(calls: Sequence[Call]) -> Iterator[dict[Call, list[Any]]]:
    """Answers of these calls, in order; those that one of them makes of another are left out."""
    answers: dict[Call, list[Any]] = {call: [] for call in calls}
    inside = False

    def listening(call: Call, inner: Any) -> Any:
        def listen(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            if inside:
                return inner(*args, **kwargs)
            inside = True
            try:
                answers[call].append(inner(*args, **kwargs))
            finally:
                inside = False
            return answers[call][-1]

        return listen

    with _instead({call: listening(call, getattr(*call)) for call in calls}):
        yield answers


@contextmanager
def replayed(answers: dict[Call, list[Any]]) -> Iterator[None]:
    """The same calls answered from the record."""

    def answering(given: list[Any]) -> Any:
        left = iter(given)
        return lambda *_, **__: next(left)

    with _instead({call: answering(given) for call, given in answers.items()}):
        yield


@contextmanager
def _instead(others: dict[Call, Any]) -> Iterator[None]:
    """Other functions in place of these, for the length of a block."""
    kept = {call: getattr(*call) for call in others}
    try:
        for (owner, name), other in others.items():
            setattr(owner, name, other)
        yield
    finally:
        for (owner, name), inner in kept.items():
            setattr(owner, name, inner)


def _events_s(count: int) -> float:
    """Seconds that the clock takes for so many events in which nothing is done."""
    many = 1000

    def wait(env: simpy.Environment) -> Generator[Any, Any, None]:
        for _ in range(many * count):
            yield env.timeout(1)

    env = simpy.Environment()
    env.process(wait(env))
    began = time.perf_counter()
    env.run()
    return (time.perf_counter() - began) / many


def _row(name: str, seconds: float, floor: float, against: str) -> dict[str, object]:
    return {"what": name, "median ms": round(1e3 * seconds, 2), "ratio": f"{seconds / floor:.3g}", "against": against}


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="ieee37")
    parser.add_argument("--mode", default="decentralized")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print_table("Start-up", start_up(options.scenario, options.repeats))
    print_table("Opening a window", openings(options.scenario, options.repeats))
    rows = runs(options.scenario, options.mode, options.repeats)
    print_table("One run, in this process", rows)
    alone = framework_alone("ieee37_stress", options.repeats)
    print_table("Clock, channel, protocol and books, without agents", alone)


if __name__ == "__main__":
    _main()
