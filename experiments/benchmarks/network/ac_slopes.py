"""The slope of the AC-feasible least cost: dispatch optimised by scipy with OpenDSS in the loop.

Neither tangents nor duals of the clearing enter. What a step costs is the operator's own statement of it (energy,
generation, reactive wear, broken voltage limits); the import and the voltages are those of OpenDSS, their derivatives
by dispatch are difference quotients of OpenDSS, and sequential least squares programming (Kraft 1988) finds the least
cost. The difference of that cost at a little more and a little less demand is the price by definition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from cosim.agents.dso import DistributionSystemOperator
from cosim.grid.feeder.phases import Terminal
from cosim.grid.opendss.circuit import AcCircuit
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation

Real = NDArray[np.float64]
DELTA_MW = 3e-4
NUDGE = 1e-5
"""Step of the difference quotients by dispatch, MW or Mvar."""
NEAR_PU = 0.03
"""Voltages farther than this from a limit are left out."""
SLACK_SCALE = 1e-3
"""Squared voltage (pu) that a unit of the scaled slack stands for."""
ACCURACY_USD = 1e-9
ENOUGH_USD = 1e-6
STARTS = 2
LEAST_PART = 0.1
"""Part of a price that voltage limits make (USD/MWh) below which they count as not binding."""
REACH_MW = 0.05
"""How far the dispatch may move from where the run has it."""


class AcSlopes:
    """Least AC costs of the steps of a finished simulation of one window, at the demand that it settled on."""

    def __init__(self, simulation: Simulation) -> None:
        operator = simulation.market.operators[0]
        assert isinstance(operator, DistributionSystemOperator)
        self.operator, self.model = operator, operator.clearing_model
        self.circuit = AcCircuit(operator.feeder)

    def slopes_usd_per_mwh(self, t: int, place: Terminal) -> tuple[float, float]:
        """Derivatives of the least AC cost of a step by active demand at a place, to the left and to the right.

        They differ where a limit just starts to bind; every number in between is a price.
        """
        less, same, more = (self.least_cost_usd(t, place, k * DELTA_MW) for k in (-1.0, 0.0, 1.0))
        left, right = (same - less) / DELTA_MW, (more - same) / DELTA_MW
        return min(left, right) / self.operator.hours, max(left, right) / self.operator.hours

    def least_cost_usd(self, t: int, place: Terminal, extra_mw: float) -> float:
        """Least AC cost (USD) of a step with more demand at a place."""
        operator, own, model = self.operator, self.operator.own_step(t), self.model
        settled = operator.result(t)
        p_mw = operator._settled[0][t]  # type: ignore[index]
        names = model.place
        moved = model.injections.own
        slack = np.array([names["v_low_slack"], names["v_high_slack"]])
        start = np.array([settled.values[name] for name in model.variables])
        limits = operator.limits
        feeder = operator.feeder_at(t)

        def ac(u: Real) -> tuple[float, Real]:
            x = start.copy()
            x[moved] = u
            injections = operator.injections(p_mw, x[: model.resource_variables])
            injections.append((place, extra_mw, 0.0))
            self.circuit.move_to(feeder)
            found = self.circuit.solve(
                float(operator.load_scale[t]), [(a, 1000 * b, 1000 * c) for a, b, c in injections]
            )
            volts = np.array(list(found.voltages.values()))
            return found.p_source_kw / 1000, volts**2

        def full(z: Real, p_sub: float) -> Real:
            x = start.copy()
            x[moved], x[slack], x[names["p_sub"]] = z[: len(moved)], SLACK_SCALE * z[len(moved) :], p_sub
            return x

        volts = np.sqrt(ac(start[moved])[1])
        low, high = volts < limits.v_min_pu + NEAR_PU, volts > limits.v_max_pu - NEAR_PU
        known: dict[bytes, tuple[float, Real, Real, Real]] = {}

        def local(z: Real) -> tuple[float, Real, Real, Real]:
            """Import and squared voltages, and their derivatives by dispatch."""
            key = z[: len(moved)].tobytes()
            if key not in known:
                u = z[: len(moved)]
                here = ac(u)
                there = [ac(u + NUDGE * e) for e in np.eye(len(u))]
                by_import = np.array([(a[0] - here[0]) / NUDGE for a in there])
                by_volts = np.array([(a[1] - here[1]) / NUDGE for a in there]).reshape(len(u), -1).T
                known.clear()
                known[key] = (*here, by_import, by_volts)
            return known[key]

        def cost(z: Real) -> float:
            x = full(z, local(z)[0])
            return own.usd(x)

        def cost_slope(z: Real) -> Real:
            p_sub, _, by_import, _ = local(z)
            x = full(z, p_sub)
            slope = own.hessian @ x + own.cost
            return np.concatenate([slope[moved] + slope[names["p_sub"]] * by_import, SLACK_SCALE * slope[slack]])

        def room(z: Real) -> Real:
            """What must not be negative: scaled room of each near limit, and of the units' own rows."""
            square = local(z)[1]
            below = (square[low] - limits.v_min_pu**2) / SLACK_SCALE + z[-2]
            above = (limits.v_max_pu**2 - square[high]) / SLACK_SCALE + z[-1]
            return np.concatenate([below, above, own.rhs - own.rows @ full(z, start[names["p_sub"]])])

        def room_slope(z: Real) -> Real:
            by_volts, n = local(z)[3] / SLACK_SCALE, len(moved)
            below = np.hstack([by_volts[low], np.tile([1.0, 0.0], (int(low.sum()), 1))])
            above = np.hstack([-by_volts[high], np.tile([0.0, 1.0], (int(high.sum()), 1))])
            units = np.hstack([-own.rows[:, moved], -SLACK_SCALE * own.rows[:, slack]])
            assert units.shape[1] == n + 2
            return np.vstack([below, above, units])

        z = np.concatenate([start[moved], start[slack] / SLACK_SCALE])
        bounds = [(v - REACH_MW, v + REACH_MW) for v in start[moved]] + 2 * [(0.0, None)]
        before = np.inf
        for _ in range(STARTS):  # from where it ended: a fresh start forgets what it learned far away
            found = minimize(
                cost, z, jac=cost_slope, method="SLSQP", bounds=bounds,
                constraints={"type": "ineq", "fun": room, "jac": room_slope},
                options={"ftol": ACCURACY_USD, "maxiter": 60},
            )  # fmt: skip
            z = found.x
            if abs(before - found.fun) < ENOUGH_USD:
                break
            before = found.fun
        return float(found.fun)


def price_rows(
    changes: Mapping[str, object],
    mode: str,
    count: int,
    rng: np.random.Generator,
    scenario: str = "ieee37",
    known: dict[tuple[int, str], tuple[float, float]] | None = None,
    bound: bool = False,
) -> list[dict[str, object]]:
    """Price and slope of the least AC cost at random steps and places of a run.

    Args:
        changes, mode, scenario: of the run. count: how many places.
        bound: only where voltage limits have a part in the price, if there are enough such places.
        known: slopes by step and place at the same demand, so as not to look for them again; new ones are added.
    """
    known = {} if known is None else known
    simulation = Simulation(prepare(*load_scenario(scenario, {**changes, "mode": mode})))
    tables = simulation.run().tables()
    slopes = AcSlopes(simulation)
    prices = tables.prices
    buses = slopes.operator.feeder.bus_by_name
    of_bus = prices["bus"].map(lambda name: buses[name].grounded)
    own = prices[of_bus == (prices["phase"].str.len() == 1)].sort_values(["step", "bus", "phase"])
    where = own[own["voltage"].abs() > LEAST_PART]
    if bound and len(where) >= count:
        own = where
    rows = []
    for i in rng.choice(len(own), size=count, replace=False):
        bus, phase = str(own["bus"].iloc[i]), str(own["phase"].iloc[i])
        step, price, part = (own[name].to_numpy()[i] for name in ("step", "dlmp_p", "voltage"))
        place = Terminal(bus, "wye" if buses[bus].grounded else "delta", (phase,))
        key = (int(step), f"{bus}.{phase}")
        if key not in known:
            known[key] = slopes.slopes_usd_per_mwh(int(step), place)
        left, right = known[key]
        apart = max(left - price, price - right, 0.0) / max(min(abs(left), abs(right)), 1.0)
        rows.append(
            {
                "step": int(step), "where": f"{bus}.{phase}", "price": float(price), "left": left, "right": right,
                "voltage_part": float(part), "apart_pct": 100 * apart,
                "wrong_sign": bool(max(price * left, price * right) < 0),
            }
        )  # fmt: skip
    return rows


def summary(rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """How far prices are from slopes, percent, and how many have the wrong sign."""
    apart = np.array([float(str(row["apart_pct"])) for row in rows])
    return {
        "prices": len(rows), "median %": float(np.median(apart)), "p90 %": float(np.quantile(apart, 0.9)),
        "max %": float(apart.max()), "wrong signs": sum(bool(row["wrong_sign"]) for row in rows),
    }  # fmt: skip
