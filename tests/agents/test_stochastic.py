"""Clearing over scenarios: against an extensive form by another solver, and what follows from its definition."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from cosim.coordination.stochastic import worth
from cosim.coordination.welfare import optimum
from cosim.errors import InputError
from cosim.experiments.benchmarks.stochastic import extensive_form
from cosim.protocol.roles import Array
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation

FORECASTS: dict[str, Any] = {
    "series": [
        {"name": "price", "of": "market.price_usd_per_mwh", "kind": "error", "std_1h": 0.05, "std_24h": 0.15,
         "truth": "sampled"},
        {"name": "load", "of": "network.load_scale", "kind": "error", "std_1h": 0.03, "std_24h": 0.06},
        {"name": "sun", "of": "generators.*.profile", "kind": "error", "std_1h": 0.1, "std_24h": 0.25},
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Uncertain:
    """An opened window over scenarios."""

    simulation: Simulation
    declared_p_mw: Array

    @property
    def operator(self) -> Any:
        return self.simulation.market.operators[0]

    @property
    def effective(self) -> Any:
        return self.simulation.market.effective


def opened(scenario: str = "ieee37_stress", scenarios: int = 3, steps: int = 2, **changes: Any) -> Uncertain:
    found = {"clock.start": "2024-07-15T14:00:00", "clock.steps": steps, "clock.window_steps": steps,
             "market.stochastic.scenarios": scenarios, "forecasts": FORECASTS, "mode": "welfare"}  # fmt: skip
    simulation = Simulation(prepare(*load_scenario(scenario, {**found, **changes})))
    window = next(iter(simulation.prepared.calendar.windows()))
    assert simulation.information is not None
    simulation.information.open(window)
    declared = simulation.market.declared(window)
    simulation.market.operator.open_window(window, declared)
    return Uncertain(simulation, declared)


@pytest.fixture(scope="module")
def stressed() -> Uncertain:
    """Two steps and three scenarios, in some of which the declared demand breaks voltage limits."""
    return opened()


def extensive(case: Uncertain, p_mw: Array | None) -> extensive_form.Extensive:
    operator, market = case.operator, case.simulation.market
    names = operator.parameter_names()
    agents = [] if p_mw is not None else [a.problem([r[a.columns] for r in names]) for a in market.aggregators]
    data = extensive_form.scenarios_of(case.simulation)
    return extensive_form.solved(extensive_form.build(operator, data, agents, names, p_mw), operator.hours)


@pytest.mark.parametrize("share", [0.9, pytest.param(1.0, marks=pytest.mark.slow)])
def test_expected_cost_and_prices_are_those_of_the_extensive_form(stressed: Uncertain, share: float) -> None:
    clearing = stressed.operator.clear(share * stressed.declared_p_mw)
    found = extensive(stressed, share * stressed.declared_p_mw)
    assert clearing.cost_usd == pytest.approx(found.cost_usd, rel=1e-6)
    assert stressed.effective(clearing.prices) == pytest.approx(found.price, rel=1e-5)


def test_the_planner_finds_the_optimum_of_the_extensive_form(stressed: Uncertain) -> None:
    best, found = optimum(stressed.simulation.market), extensive(stressed, None)
    assert best.social_cost_usd == pytest.approx(found.cost_usd, rel=1e-6)
    assert best.price_usd_per_mwh == pytest.approx(found.price, rel=1e-5)


def alone(case: Uncertain) -> list[tuple[float, Any]]:
    """Each scenario's probability, and its clearing as the only one."""
    operator = case.operator
    window = next(iter(case.simulation.prepared.calendar.windows()))
    found = []
    for future in operator._futures:
        pieces = operator._over([replace(future, weight=1.0)], window, case.declared_p_mw)
        found.append((future.weight, operator._clearing(*pieces, own=future.own)))
    return found


@pytest.mark.parametrize("changes", [{}, {"generators.dg720.ramp_kw_per_step": 20}])
def test_cost_and_price_are_the_expectation_over_scenarios(changes: dict[str, Any]) -> None:
    """Ramps join the steps of a scenario, and not those of different ones."""
    case = opened("ieee37", 3, 3, **changes)
    p_mw = 0.9 * case.declared_p_mw
    clearing, parts = case.operator.clear(p_mw), alone(case)
    solutions = [(weight, window, window.solve(p_mw)) for weight, window in parts]
    cost = sum(weight * solution.objective for weight, _, solution in solutions)
    slopes = sum(weight * window.sensitivity(solution) for weight, window, solution in solutions)
    assert clearing.cost_usd == pytest.approx(cost, rel=1e-9)
    assert case.effective(clearing.prices) * case.operator.hours == pytest.approx(slopes, rel=1e-7)
    if case.operator.clearing.step_costs(case.operator.clearing.solve(p_mw)) is not None:
        assert clearing.step_costs_usd.sum() == pytest.approx(cost, rel=1e-9)


def test_payments_at_the_price_cover_the_expected_cost_that_the_demand_adds(stressed: Uncertain) -> None:
    """Revenue adequacy in expectation: the expected cost is convex, so p'C'(p) is at least C(p) - C(0)."""
    p_mw, operator = stressed.declared_p_mw, stressed.operator
    at, without = operator.clear(p_mw), operator.clear(0 * p_mw)
    paid = operator.hours * float((stressed.effective(at.prices) * p_mw).sum())
    assert paid >= at.cost_usd - without.cost_usd
    assert paid > 1.05 * (at.cost_usd - without.cost_usd)  # limits are broken, so it is more
    cash = sum(w * float((window.sensitivity(window.solve(p_mw)) * p_mw).sum()) for w, window in alone(stressed))
    assert paid == pytest.approx(cash, rel=1e-7)


def test_the_settled_price_is_the_one_that_supports_the_demand(stressed: Uncertain) -> None:
    best = optimum(stressed.simulation.market)
    clearing = stressed.operator.settle(best.p_mw, best.price_usd_per_mwh)
    assert stressed.effective(clearing.prices) == pytest.approx(best.price_usd_per_mwh, rel=1e-6)
    assert stressed.operator.regret_usd(best.p_mw, best.price_usd_per_mwh) <= 1e-5 * best.social_cost_usd


def test_the_position_of_the_forecast_costs_more_in_expectation() -> None:
    """What the planner finds on forecasts alone is a position too, and no better one."""
    case = opened("ieee37_stress", 5, 3)
    market, operator = case.simulation.market, case.operator
    best = optimum(market)
    expected, operator._window = operator._window, operator._forecast
    on_forecasts = optimum(market).p_mw
    operator._window = expected
    own = sum(a.adopt(on_forecasts[:, a.columns]) for a in market.aggregators)
    assert operator.clear(on_forecasts).cost_usd + own >= best.social_cost_usd * (1 - 1e-9)


@pytest.mark.parametrize("mode", ["decentralized", pytest.param("welfare", marks=pytest.mark.slow)])
def test_runs_over_scenarios_deliver_what_happens_and_repeat(mode: str) -> None:
    changes = {"clock.start": "2024-07-15T17:00:00", "clock.steps": 2, "clock.window_steps": 2, "mode": mode,
               "market.stochastic.scenarios": 4, "forecasts": FORECASTS, "decentralized.tolerance": 1e-4}  # fmt: skip
    books = [Simulation(prepare(*load_scenario("ieee37", changes))).run() for _ in range(2)]
    first, second = (b.tables() for b in books)
    assert first.steps.equals(second.steps) and first.dispatch.equals(second.dispatch)
    outcome = books[0].outcomes[0]
    assert outcome.converged
    if mode == "decentralized":
        assert outcome.regrets_usd is not None
        assert sum(outcome.regrets_usd) <= 1e-4 * outcome.clearing.cost_usd
    assert any("4 scenarios, kept by forward selection of 64" in note for note in books[0].notes)


def test_the_value_of_scenarios_and_of_information_is_not_negative() -> None:
    """Wait and see <= recourse <= expected value solution; each bound by solves of its own."""
    case = opened("ieee37_stress", 2, 2, **{"market.stochastic.worth": True})
    market, operator = case.simulation.market, case.operator
    found = worth(market)
    assert found.wait_and_see_usd <= found.recourse_usd + 1e-6
    assert found.on_forecast_usd >= found.recourse_usd - 1e-6
    assert found.recourse_usd == pytest.approx(optimum(market).social_cost_usd, rel=1e-9)  # all is as before
    waited = 0.0
    for number, weight in enumerate(operator.futures_weights):
        operator.suppose(number)
        names = operator.parameter_names()
        agents = [a.problem([r[a.columns] for r in names]) for a in market.aggregators]
        operator.suppose("all")
        data = replace(extensive_form.scenarios_of(case.simulation)[number], weight=1.0)
        waited += weight * extensive_form.solved(
            extensive_form.build(operator, [data], agents, names), operator.hours
        ).cost_usd
    assert found.wait_and_see_usd == pytest.approx(waited, rel=1e-6)


def test_nothing_is_worth_anything_where_a_single_scenario_is_the_forecast() -> None:
    case = opened("ieee37_stress", 1, 2, **{"market.stochastic.worth": True, "forecasts.scale": 1e-6})
    found = worth(case.simulation.market)
    assert abs(found.stochastic_usd) + abs(found.perfect_information_usd) <= 1e-4 * found.recourse_usd


def test_the_worth_of_windows_that_share_steps_is_refused() -> None:
    changes = {"clock.market": "rolling", "clock.steps": 2, "market.stochastic.worth": True, "forecasts": FORECASTS}
    with pytest.raises(InputError, match="share steps"):
        Simulation(prepare(*load_scenario("ieee37", changes)))


def test_one_linearisation_moved_with_the_load_is_near_one_of_each_scenario() -> None:
    found = [opened("ieee37_stress", 6, 3, **{"market.stochastic.tangents": t}) for t in ("scenario", "step")]
    best = [optimum(case.simulation.market) for case in found]
    assert best[1].social_cost_usd == pytest.approx(best[0].social_cost_usd, rel=1e-4)
    assert best[1].price_usd_per_mwh == pytest.approx(best[0].price_usd_per_mwh, abs=0.5)
    shared = found[1].operator.clearing
    assert len({id(n) for n in shared.networks}) == 3 and shared.scenarios == 6


def test_node_prices_of_scenarios_on_one_linearisation_add_up() -> None:
    """At the terminals they are the prices of the demand, whether scenarios share a linearisation or not."""
    for tangents in ("scenario", "step"):
        case = opened("ieee37_stress", 3, 2, **{"market.stochastic.tangents": tangents})
        solution = case.operator.clearing.solve(case.declared_p_mw)
        clearing = case.operator.clear(case.declared_p_mw)
        for t in range(2):
            parts = case.operator.clearing.node_prices(t, solution, case.operator.hours)
            assert len(parts) == (1 if tangents == "step" else 3)
            for k, terminal in enumerate(case.operator.terminals):
                active = sum(sum(part.at_terminal(terminal)[0].values()) for part in parts)
                assert active == pytest.approx(clearing.prices.p_usd_per_mwh[t, k], rel=1e-8)


def test_scenarios_beside_limits_by_chance_are_refused() -> None:
    """Both would keep room for the same errors."""
    changes = {"forecasts": FORECASTS, "market.stochastic.scenarios": 2, "network.chance.probability": 0.95}
    with pytest.raises(InputError, match="margins"):
        Simulation(prepare(*load_scenario("ieee37", {**changes, "clock.steps": 2, "clock.window_steps": 2})))


def test_real_time_windows_of_a_second_settlement_go_by_forecasts() -> None:
    changes = {"clock.start": "2024-07-15T15:00:00", "clock.steps": 3, "clock.window_steps": 3, "mode": "welfare",
               "clock.market": "two_settlement", "forecasts": FORECASTS, "market.stochastic.scenarios": 3}  # fmt: skip
    simulation = Simulation(prepare(*load_scenario("ieee37", changes)))
    books = simulation.run()
    assert simulation.market.operators[0].clearing.scenarios == 1  # type: ignore[attr-defined]
    assert len(books.tables().steps) == 3


def test_a_leader_over_scenarios_is_certified_and_pays_no_more_than_who_negotiates() -> None:
    """At expected prices, with payments certified against the operator's optimum over all scenarios."""
    gap, cost = 1e-3, {}
    for mode in ("centralized", "decentralized"):
        changes = {"clock.start": "2024-07-15T14:00:00", "clock.steps": 2, "clock.window_steps": 2, "mode": mode,
                   "market.stochastic.scenarios": 3, "forecasts": FORECASTS, "centralized.gap": gap,
                   "decentralized.tolerance": 1e-6}  # fmt: skip
        simulation = Simulation(prepare(*load_scenario("ieee37_stress", changes)))
        (outcome,) = simulation.run().outcomes
        clearing, market = outcome.clearing, simulation.market
        paid = market.hours * float((market.effective(clearing.prices) * clearing.p_mw).sum())
        cost[mode] = outcome.own_cost_usd + paid
        if mode == "centralized":
            proof = outcome.certificate
            assert proof is not None and proof["passed"] and outcome.gap is not None and outcome.gap <= gap
            assert paid == pytest.approx(proof["payment_pessimistic"], rel=1e-6)
    assert cost["centralized"] <= cost["decentralized"] + 1e-6
