"""The leader's optimum of one window by every formulation and solver, and what repairs of one of them are worth.

The same window of the same scenario in every line, with a flat or a sloped price at the substation. A time is compared
with that of the branch solver in the same run.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosim import InputError, RunFailure
from cosim.coordination.base import Market
from cosim.coordination.leaders import stackelberg_problem
from cosim.coordination.welfare import optimum
from cosim.optimization.bilevel.mip.formulation import Repairs
from cosim.optimization.bilevel.solver import solve
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation


@dataclass(frozen=True, slots=True)
class Method:
    """A formulation and the solver that is asked for it."""

    formulation: str
    solver: str
    complementarity: str = "big-m"

    @property
    def name(self) -> str:
        """As tables show it."""
        how = "" if self.solver == "branch" else f", {self.complementarity}"
        return f"{self.formulation}, {self.solver}{how}"


METHODS = (
    Method("strong-duality", "branch"),
    Method("strong-duality", "scip"),
    Method("strong-duality", "scip", "indicator"),
    Method("strong-duality", "scip", "sos1"),
    Method("strong-duality", "highs"),
    Method("kkt-mccormick", "highs"),
    Method("kkt-mccormick", "scip"),
)


def opened(scenario: str, hours: int, slope: float = 0.0, more: Mapping[str, Any] | None = None) -> Market:
    """The market of a scenario with its first window of so many steps opened.

    Args:
        slope: of the price at the substation, USD/MWh per MW.
        more: other changes to the scenario.
    """
    changes = {"clock.steps": hours, "clock.window_steps": hours, "market.slope_usd_per_mwh_per_mw": slope}
    simulation = Simulation(prepare(*load_scenario(scenario, {**changes, **(more or {})})))
    window = next(iter(simulation.prepared.calendar.windows()))
    simulation.market.operator.open_window(window, simulation.market.declared(window))
    return simulation.market


def measure(
    scenario: str = "ieee37_stress",
    hours: Sequence[int] = (4, 8, 24),
    time_limit_s: float = 60.0,
    methods: Sequence[Method] = METHODS,
    gap: float = 1e-3,
    bits: int = 6,
    slopes: Sequence[float] = (0.0,),
) -> list[dict[str, object]]:
    """One row per horizon and method; a method that finds nothing in time says why.

    Args:
        time_limit_s: of each solve. gap: relative, at which a solve stops. bits: per demand in kkt-mccormick.
        slopes: of the price at the substation, USD/MWh per MW.
    """
    rows: list[dict[str, object]] = []
    for horizon, slope in itertools.product(hours, slopes):
        market = opened(scenario, horizon, slope)
        problem, start = stackelberg_problem(market), optimum(market).p_mw.ravel()
        first: float | None = None
        for method in methods:
            options: dict[str, Any] = {"gap": gap, "bits": bits, "time_limit_s": time_limit_s, "start": start}
            options["complementarity"] = method.complementarity
            which = {"hours": horizon, "slope": slope, "method": method.name}
            try:
                found = solve(problem, method.formulation, method.solver, **options)
            except (InputError, RunFailure) as error:
                rows.append({**which, "outcome": "none", "reason": str(error)})
                continue
            first = found.time_s if first is None else first
            rows.append(
                {
                    **which,
                    "objective USD": round(found.leader_cost, 3),
                    "bound USD": round(found.bound, 3),
                    "gap": f"{found.gap:.1e}",
                    "nodes": found.nodes or "–",
                    "time s": round(found.time_s, 2),
                    "time / first": round(found.time_s / first, 1),
                    "discretisation USD": round(found.certificate.discretisation, 3),
                    "certificate": "passed" if found.certificate.passed else "failed",
                    "outcome": found.status,
                }
            )
    return rows


REPAIRS = {
    "none": Repairs(tighten=False, cut=False, start=False),
    "bounds": Repairs(tighten=True, cut=False, start=False),
    "cut": Repairs(tighten=False, cut=True, start=False),
    "start": Repairs(tighten=False, cut=False, start=True),
    "all but bounds": Repairs(tighten=False, cut=True, start=True),
    "all but cut": Repairs(tighten=True, cut=False, start=True),
    "all but start": Repairs(tighten=True, cut=True, start=False),
    "all": Repairs(),
}


def measure_repairs(
    scenario: str = "ieee37_stress",
    hours: Sequence[int] = (2, 6, 24),
    time_limit_s: float = 60.0,
    gap: float = 1e-3,
    bits: int = 6,
    solver: str = "scip",
    which: Sequence[str] = tuple(REPAIRS),
) -> list[dict[str, object]]:
    """One row per horizon and choice of repairs of 'kkt-mccormick'; arguments as in :func:`measure`."""
    rows: list[dict[str, object]] = []
    for horizon in hours:
        market = opened(scenario, horizon)
        problem, start = stackelberg_problem(market), optimum(market).p_mw.ravel()
        for name in which:
            options: dict[str, Any] = {"gap": gap, "bits": bits, "time_limit_s": time_limit_s, "start": start}
            row: dict[str, object] = {"hours": horizon, "repairs": name}
            try:
                found = solve(problem, "kkt-mccormick", solver, repairs=REPAIRS[name], **options)
            except (InputError, RunFailure) as error:
                rows.append({**row, "outcome": "none", "reason": str(error)})
                continue
            row |= {
                "objective USD": round(found.leader_cost, 3),
                "bound USD": round(found.bound, 3),
                "gap": f"{found.gap:.1e}",
                "time s": round(found.time_s, 1),
                "discretisation USD": round(found.certificate.discretisation, 3),
                "outcome": found.status,
            }
            rows.append(row)
    return rows
