"""Prices against what they mean: how much more the AC-feasible optimum costs when demand at one bus-phase grows.

    python -m cosim.experiments.benchmarks.network.ac_prices --scenario ieee37_stress --steps 3 12 19
    python -m cosim.experiments.benchmarks.network.ac_prices --models ieee13 ieee37 ieee123 --seeds 3 --places 8

For each step the AC tangent is taken anew at the optimal dispatch until that no longer moves, so that the optimum is
one of the AC power flow; its prices come from the adjoint at the last tangent. Then a bus-phase (or leg) draws a little
more and a little less, everything is iterated again, and the difference in cost is the price by definition. Nothing of
the price's own computation enters it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import cosim
from cosim.agents.dso import DistributionSystemOperator
from cosim.agents.dso.clearing import ClearingModel
from cosim.agents.dso.prices import NodePrices, node_prices
from cosim.errors import RunFailure
from cosim.experiments.benchmarks.leader.reduction import reduce
from cosim.experiments.benchmarks.network.ac_rounds import overrides
from cosim.experiments.benchmarks.network.ac_slopes import LEAST_PART, price_rows, summary
from cosim.experiments.studies.common import print_table
from cosim.grid.feeder.phases import Terminal
from cosim.grid.feeder.tables import read_feeder
from cosim.optimization.solvers.qp_solver import solve_qp
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation

Real = NDArray[np.float64]
DELTA_MW = 2e-3
RELAXED = 0.4
"""Part of the way that a point moves to the dispatch it led to: a linear loss overshoots."""
STEADY_MW = 1e-7
ROUNDS = 80


@dataclass(frozen=True)
class AcOptimum:
    """An optimum at which the tangent was taken: its cost (USD), prices, and whether a voltage limit binds there."""

    cost_usd: float
    prices: NodePrices
    binds: bool
    rounds: int


class AcClearing:
    """One scenario's clearing with probes: bus-phases or legs whose demand is moved."""

    def __init__(self, scenario: str, probes: Sequence[Terminal], overrides: dict[str, object] | None = None) -> None:
        changes = {"network.model": "ac-linear", **(overrides or {})}
        simulation = Simulation(prepare(*load_scenario(scenario, changes)))
        operator = simulation.market.operators[0]
        assert isinstance(operator, DistributionSystemOperator)
        window = next(iter(simulation.prepared.calendar.windows()))
        self.operator, self.probes = operator, tuple(probes)
        self.declared_mw = simulation.market.declared(window)
        self.terminals = (*operator.terminals, *self.probes)
        self.model = ClearingModel(
            operator.linearisation.first(1.0), self.terminals, operator.resources, operator.limits, operator.hours
        )

    def optimum(self, t: int, share: float, extra: Real | None = None) -> AcOptimum:
        """The AC-feasible optimum of a step.

        Args:
            t: step of the horizon.
            share: of the declared demand that the data centers draw.
            extra: (probes, 2) MW and Mvar of the probes; none by default.

        Raises:
            RunFailure: the dispatch does not settle.
        """
        operator, model = self.operator, self.model
        drawn = share * self.declared_mw[t]
        probes = np.zeros((len(self.probes), 2)) if extra is None else extra
        p = np.concatenate([drawn, probes[:, 0]])
        q = np.concatenate([drawn * operator.reactive_ratio, probes[:, 1]])
        units = [port.terminal for port in model.ports]
        dispatch = np.zeros((len(units), 2))
        for k in range(ROUNDS):
            injections = [(a, float(b), float(c)) for a, b, c in zip(self.terminals, p, q, strict=True)]
            injections += [(a, -float(b), -float(c)) for a, (b, c) in zip(units, dispatch, strict=True)]
            scale = float(operator.load_scale[t])
            (network,) = operator.linearisation.at([operator.feeder_at(t)], [scale], [injections], [None])
            qp = reduce(model.at(network, operator.own_step(t)), model.kept, model.equalities.names).qp
            solution = solve_qp(qp, np.concatenate([p, q])).require()
            values = dict(zip(qp.variables, solution.x.tolist(), strict=True))
            found = np.array(model.powers(np.array([values[name] for name in model.variables]))).reshape(-1, 2)
            if np.abs(found - dispatch).max(initial=0.0) <= STEADY_MW:
                nu = dict(zip(qp.eq_rows, solution.nu.tolist(), strict=True))
                sigma = dict(zip(qp.ineq_rows, solution.sigma.tolist(), strict=True))
                limits = np.array([sigma[name] for name in model.inequalities.names])
                equal = np.array([nu[name] for name in model.equalities.names])
                prices = node_prices(model, network, equal, limits, operator.hours)
                return AcOptimum(solution.objective, prices, bool(limits.max(initial=0.0) > 1e-3), k + 1)
            dispatch = dispatch + RELAXED * (found - dispatch)
        raise RunFailure(f"the dispatch of step {t} does not settle in {ROUNDS} tangents")

    def compare(self, t: int, share: float) -> list[dict[str, object]]:
        """Price and difference quotient at every probe, active and reactive."""
        here = self.optimum(t, share)
        rows: list[dict[str, object]] = []
        for k, probe in enumerate(self.probes):
            for kind, parts in enumerate(here.prices.at_terminal(probe)):
                cost = []
                for sign in (1.0, -1.0):
                    extra = np.zeros((len(self.probes), 2))
                    extra[k, kind] = sign * DELTA_MW
                    cost.append(self.optimum(t, share, extra).cost_usd)
                slope = (cost[0] - cost[1]) / (2 * DELTA_MW) / self.operator.hours
                price = sum(parts.values())
                largest = max(abs(x) for x in here.prices.total()[kind])
                rows.append(
                    {
                        "step": t, "where": f"{probe.bus}.{probe.phases[0]}", "of": "PQ"[kind], "price": price,
                        "voltage part": parts["voltage"], "loss part": parts["loss"], "difference": slope,
                        "apart %": 100 * abs(price - slope) / max(abs(slope), 0.01 * largest),
                        "limit binds": here.binds, "rounds": here.rounds,
                    }
                )  # fmt: skip
        return rows


def compare_models(feeders: Sequence[str], seeds: int, places: int) -> list[dict[str, object]]:
    """How far prices of either model are from slopes of the least AC cost, by scipy with OpenDSS in the loop.

    The cases are those of :mod:`cosim.experiments.benchmarks.network.ac_rounds` at work on arrival, with the lower
    limit where it binds; steps, buses and phases are drawn at random, the same for both models.
    """
    table = []
    for name in feeders:
        known: list[dict[tuple[int, str], tuple[float, float]]] = [{} for _ in range(seeds)]
        for model in ("ac-linear", "lindist3flow"):
            rows: list[dict[str, object]] = []
            for seed in range(seeds):
                changes = overrides(read_feeder(name), name, seed, 0, model)
                rows += price_rows(changes, "uncoordinated", places, np.random.default_rng(seed), known=known[seed])
            bound = [row for row in rows if abs(float(str(row["voltage_part"]))) > LEAST_PART]
            for kind, chosen in (("all", rows), ("voltage limit binds", bound)):
                if chosen:
                    table.append({"feeder": name, "model": model, "where": kind, **summary(chosen)})
            print(*table[-2:], sep="\n", flush=True)
    return table


def against_refined(feeders: Sequence[str], seeds: int, v_min_pu: float) -> list[dict[str, object]]:
    """How far all prices of either model are from those at the AC-feasible optimum, in the cases of
    :func:`compare_models` under a lower voltage limit (pu) of its own.

    At the same demand the reference is dispatched at least AC cost (``network.ac_rounds``) and priced on the tangent
    there; that those prices are slopes of the least AC cost is what :func:`compare_models` shows.
    """
    table = []
    for name in feeders:
        for model in ("lindist3flow", "ac-linear"):
            rows: list[dict[str, object]] = []
            for seed in range(seeds):
                cases = (overrides(read_feeder(name), name, seed, *how) for how in ((0, model), (1, "ac-linear")))
                found, right = (
                    cosim.run("ieee37", "uncoordinated", overrides={**case, "network.v_min_pu": v_min_pu}).prices
                    for case in cases
                )
                both = found.merge(right, on=["step", "bus", "phase"], suffixes=("", "_right"))
                price, slope = both["dlmp_p"].to_numpy(), both["dlmp_p_right"].to_numpy()
                apart = 100 * np.abs(price - slope) / np.maximum(np.abs(slope), 1.0)
                part = both["voltage_right"].abs().groupby(both["step"]).transform("max").to_numpy()
                columns = (apart, price * slope < 0, part)
                names = ("apart_pct", "wrong_sign", "voltage_part")
                rows += [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
            bound = [row for row in rows if float(str(row["voltage_part"])) > LEAST_PART]
            for kind, chosen in (("all", rows), ("steps in which a limit binds", bound)):
                if chosen:
                    table.append({"feeder": name, "model": model, "where": kind, **summary(chosen)})
                    print(table[-1], flush=True)
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Print prices and difference quotients at some legs of the IEEE 37-node feeder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", default="ieee37_stress")
    parser.add_argument("--steps", type=int, nargs="*", default=[3, 12, 19])
    parser.add_argument("--models", nargs="*", help="feeders on which both models are judged by OpenDSS and scipy")
    parser.add_argument("--seeds", type=int, default=3, help="random cases of each feeder")
    parser.add_argument("--places", type=int, default=8, help="prices of each case; 0: all, by the AC tangent")
    parser.add_argument("--v-min", type=float, default=0.97, help="lower limit where all prices are compared, pu")
    parser.add_argument("--share", type=float, default=0.9, help="of the declared demand")
    options = parser.parse_args(arguments)
    if options.models:
        table = (
            compare_models(options.models, options.seeds, options.places)
            if options.places
            else against_refined(options.models, options.seeds, options.v_min)
        )
        print_table("prices against slopes of the least AC cost", table)
        return
    places = (("701", "ab"), ("736", "bc"), ("740", "ca"), ("718", "ab"), ("728", "bc"))
    probes = [Terminal(bus, "delta", (leg,)) for bus, leg in places]
    clearing = AcClearing(options.scenario, probes)
    rows = [row for t in options.steps for row in clearing.compare(t, options.share)]
    print_table(f"{options.scenario}, {100 * options.share:.0f} % of the declared demand", rows)
    print(f"largest difference {max(float(str(r['apart %'])) for r in rows):.3f} %")


if __name__ == "__main__":
    main()
