"""The planner's optimum over scenarios by mpi-sppy's extensive form and HiGHS, side by side with ours.

    python -m cosim.experiments.benchmarks.stochastic.peer_mpisppy SITE_PACKAGES [SCENARIOS [STEPS]]

``SITE_PACKAGES``: where mpi-sppy is installed, in an environment of its own. Both get the same linear networks and
schedules; mpi-sppy gets each scenario as a Pyomo model, as its users write them. Squares are the highest of 17 tangents
there, which HiGHS takes as a linear program, so that its optimum lies a little below.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from importlib import import_module
from typing import Any

from cosim.coordination.welfare import optimum
from cosim.experiments.benchmarks.stochastic.cases import opened, operator_of
from cosim.experiments.benchmarks.stochastic.extensive_form import build, scenarios_of

TARGET = 10


def main(site_packages: str, scenarios: int = 10, steps: int = 6) -> None:
    """Print both times: ours from the networks to the optimum, the peer's from model to optimum."""
    sys.path.append(site_packages)
    sputils = import_module("mpisppy.utils.sputils")
    form_of = import_module("mpisppy.opt.ef").ExtensiveForm

    case = opened("ieee37", scenarios, steps)
    market, operator = case.market, operator_of(case)
    names, data = operator.parameter_names(), scenarios_of(case)
    agents = [a.problem([row[a.columns] for row in names]) for a in market.aggregators]
    window = next(iter(case.prepared.calendar.windows()))
    started = time.perf_counter()
    operator.open_window(window, market.declared(window))
    best = optimum(market)
    ours_s = time.perf_counter() - started

    def creator(name: str, **_: Any) -> Any:
        number = int(name.removeprefix("scenario"))
        model = build(operator, [replace(data[number], weight=1.0)], agents, names)
        del model.dual
        sputils.attach_root_node(model, model.objective.expr, [model.p])
        model._mpisppy_probability = data[number].weight
        return model

    labels = [f"scenario{w}" for w in range(scenarios)]
    started = time.perf_counter()
    form = form_of({"solver": "appsi_highs"}, labels, creator, suppress_warnings=True)
    built_s = time.perf_counter() - started
    form.solve_extensive_form()
    theirs_s = time.perf_counter() - started
    cost = form.get_objective_value()
    print(f"{scenarios} scenarios, {steps} steps, ieee37: expected social cost {best.social_cost_usd:.4f} USD, "
          f"mpi-sppy {cost:.4f} USD ({cost / best.social_cost_usd - 1:.1e})")  # fmt: skip
    print(f"ours {ours_s:.2f} s, linearisation included; mpi-sppy {theirs_s:.1f} s, of it {built_s:.1f} s models: "
          f"{theirs_s / ours_s:.0f} times (target {TARGET})")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
