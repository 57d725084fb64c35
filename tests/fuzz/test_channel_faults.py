"""Random schedules of faults: whatever the channel does, windows end with awards, work is done, agreement is true.

Every schedule is a whole run of the real agents over a few steps. What a window ended with is checked against the books
(work, demand, messages) and against the least social cost of that window, which no negotiation is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cosim.coordination.base import Outcome
from cosim.coordination.rules import RULES
from cosim.coordination.welfare import optimum
from cosim.results.tables import Tables
from cosim.scenario.calendar import Window
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation

NORMAL, SLOW = 12, 1000
HORIZON_HOURS = 6
EXACT_MWH, EXACT_USD = 1e-6, 1e-6
ONE = ({"name": "dca"},)
TWO = ({"name": "west", "datacenters": ["dc718"]}, {"name": "east", "datacenters": ["dc736", "dc740"]})
SITES = ("dc718", "dc736", "dc740")
BATTERY = {"energy_kwh": 100, "power_kw": 50}


def faults(seed: int) -> dict[str, Any]:
    """The changes to a shipped scenario that make up schedule number ``seed``."""
    rng = np.random.default_rng(seed)
    keys = _clock(rng)
    two = bool(rng.random() < 0.3)
    names = ["dso", *(a["name"] for a in (TWO if two else ONE))]
    keys |= _market(rng, two)
    gate_s, round_s = keys["clock.gate_s"], keys["clock.round_s"]
    end_s = gate_s + keys["clock.steps"] * keys["clock.step_s"]
    keys["aggregators"] = TWO if two else ONE
    keys["channel.latency"] = _latency(rng, round_s, gate_s)
    keys["channel.loss"] = float(rng.choice([0.0, 0.0, rng.uniform(0, 0.95)]))
    keys["channel.duplicate"] = float(rng.choice([0.0, rng.uniform(0, 0.9)]))
    if rng.random() < 0.3:
        keys["channel.burst"] = {"to_bad": rng.uniform(0, 1), "to_good": rng.uniform(0.01, 1)}
    links = [(a, b) for a in names for b in names if a != b and "dso" in (a, b)]
    keys["channel.links"] = [
        {"sender": a, "receiver": b, "latency": _latency(rng, round_s, gate_s)} for a, b in links if rng.random() < 0.3
    ]
    keys["channel.outages"] = [_outage(rng, names, links, end_s) for _ in range(rng.integers(0, 4))]
    return keys


def _clock(rng: np.random.Generator) -> dict[str, Any]:
    """Steps of five minutes to an hour, a gate that opens at any time allowed, rounds from short to the whole gate."""
    step_s, steps = int(rng.choice([300, 900, 3600])), int(rng.integers(2, HORIZON_HOURS + 1))
    window, market = int(rng.integers(1, steps + 1)), str(rng.choice(["day_ahead", "rolling"]))
    longest_s = step_s * (window if market == "day_ahead" else 1)
    gate_s = longest_s if rng.random() < 0.3 else int(rng.integers(10, longest_s + 1))
    round_s = max(1, int(gate_s / rng.choice([1, 1.5, 3, 10, 30, 100])))
    return {
        "clock.start": f"2024-07-15T{rng.integers(0, 24):02d}:00:00", "clock.step_s": step_s, "clock.steps": steps,
        "clock.window_steps": window, "clock.market": market, "clock.gate_s": gate_s, "clock.round_s": round_s,
    }  # fmt: skip


def _market(rng: np.random.Generator, two: bool) -> dict[str, Any]:
    """Who negotiates by which rule, for what."""
    rules = [name for name, rule in RULES.items() if not (two and rule.one_aggregator)]
    rule = str(rng.choice(rules))
    keys: dict[str, Any] = {
        "mode": str(rng.choice(["decentralized"] * 18 + ["uncoordinated", "welfare"])),
        "seed": int(rng.integers(0, 2**31)),
        "decentralized.rule": rule,
        "decentralized.max_rounds": int(rng.choice([1, 5, 40])),
        "decentralized.tolerance": float(rng.choice([1e-6, 1e-3])),
        "network.losses": bool(rng.random() < 0.3),
    }
    keys |= {f"datacenters.{name}.battery": BATTERY for name in SITES if rng.random() < 0.2}
    if rule != "bundle" and rng.random() < 0.2:
        keys["market.settlement"] = "active"
    if rng.random() < 0.2:
        keys |= {"market.bid_step_kw": float(rng.choice([1.0, 20.0, 100.0])), "decentralized.tolerance": 1e-2}
    if keys["network.losses"] and rng.random() < 0.3:
        keys["network.ac_rounds"] = 2
    return keys


def _latency(rng: np.random.Generator, round_s: float, gate_s: float) -> dict[str, Any]:
    """Delays from much shorter than a round to several gates."""
    typical = float(rng.choice([0.01, 0.4, 1.0, 3.0])) * float(rng.choice([round_s, gate_s]))
    kind = str(rng.choice(["constant", "uniform", "lognormal"]))
    if kind == "constant":
        return {"seconds": typical}
    if kind == "uniform":
        return {"kind": kind, "low_s": 0.0, "high_s": 2 * typical}
    return {"kind": kind, "median_s": typical, "sigma": float(rng.uniform(0, 2))}


def _outage(rng: np.random.Generator, names: list[str], links: list[tuple[str, str]], end_s: float) -> dict[str, Any]:
    first = float(rng.uniform(0, end_s))
    span = {"from_s": first, "to_s": first + float(rng.uniform(1, end_s))}
    if rng.random() < 0.5:
        return {"agent": str(rng.choice(names)), **span}
    sender, receiver = links[rng.integers(len(links))]
    return {"sender": sender, "receiver": receiver, **span}


@dataclass
class Ended:
    """A window, what it ended with, and the least social cost that was possible in it (USD)."""

    window: Window
    outcome: Outcome
    least_usd: float


class Watched(Simulation):
    """A simulation that also works out the optimum of each window as it was negotiated."""

    def __init__(self, keys: dict[str, Any], scenario: str) -> None:
        super().__init__(prepare(*load_scenario(scenario, keys)))
        self.ended: list[Ended] = []

    def _take(self, window: Window, outcome: Outcome, welfare_usd: float | None) -> None:
        self.ended.append(Ended(window, outcome, optimum(self.market).social_cost_usd))
        super()._take(window, outcome, welfare_usd)


def check(seed: int) -> None:
    """Run one schedule; AssertionError names what does not hold."""
    scenario = "ieee37" if seed % 3 else "ieee37_stress"
    simulation = Watched(faults(seed), scenario)
    tables = simulation.run().tables()
    _all_is_awarded(simulation, tables)
    _work_is_done(simulation, tables.work)
    _messages_belong_to_the_open_window(simulation, tables.messages)
    for ended in simulation.ended:
        _regrets_bound_the_gap(simulation, ended)
        if simulation.prepared.scenario.mode == "decentralized" and ended.outcome.converged:
            _agreement_is_true(simulation, ended, tables)


def _all_is_awarded(simulation: Watched, tables: Tables) -> None:
    """Each step is committed once, at the demand that its window awarded, and each aggregator is told by the gate."""
    steps = range(simulation.prepared.calendar.steps)
    assert list(tables.steps["step"]) == list(steps)
    assert set(tables.prices["step"]) == set(steps)
    awards = tables.messages[tables.messages["kind"] == "award"]
    for ended in simulation.ended:
        window, awarded = ended.window, ended.outcome.clearing
        mine = awards[awards["step"] == window.first]
        assert {a.name for a in simulation.market.aggregators} == set(mine["receiver"])
        assert (mine["sent"] <= window.closes_s).all()
        shape = window.steps, len(simulation.market.operator.reactive_ratio)
        for part in (awarded.p_mw, awarded.prices.p_usd_per_mwh, awarded.prices.q_usd_per_mvarh):
            assert part.shape == shape and np.isfinite(part).all()
        for t in window.committed:
            drawn = tables.demand.loc[tables.demand["step"] == t, "p_kw"].to_numpy()
            assert drawn == pytest.approx(1000 * awarded.p_mw[t - window.first], abs=1e-3)


def _work_is_done(simulation: Watched, work: pd.DataFrame) -> None:
    """What may not wait runs at once, and nothing is late or left over."""
    assert work["late_mwh"].max() <= EXACT_MWH
    for spec in simulation.prepared.scenario.workload.classes:
        mine = work[work["class"] == spec.name]
        by = ["step"] if spec.movable else ["step", "datacenter"]
        done = mine.groupby(by)[["arrived_mwh", "served_mwh"]].sum()
        apart = done["arrived_mwh"] - done["served_mwh"]
        if spec.max_delay_steps == 0:
            assert apart.abs().max() <= EXACT_MWH
        assert abs(apart.sum()) <= EXACT_MWH


def _messages_belong_to_the_open_window(simulation: Watched, messages: pd.DataFrame) -> None:
    """Nobody speaks of a window that is not open when it speaks."""
    windows = {ended.window.first: ended.window for ended in simulation.ended}
    for row in messages.to_dict("records"):
        window = windows[row["step"]]
        assert window.opens_s <= row["sent"] <= window.closes_s


def _regrets_bound_the_gap(simulation: Watched, ended: Ended) -> None:
    """Where what is paid is what power costs, an award is as near to the optimum as its regrets say."""
    outcome, market = ended.outcome, simulation.prepared.scenario.market
    if outcome.regrets_usd is not None and market.settlement == "active+reactive":
        gap = outcome.clearing.cost_usd + outcome.own_cost_usd - ended.least_usd
        assert gap <= sum(outcome.regrets_usd) + EXACT_USD * max(1.0, abs(ended.least_usd))


def _agreement_is_true(simulation: Watched, ended: Ended, tables: Tables) -> None:
    """Every aggregator had this window's last posting before it bid, and the operator that bid before it agreed.

    Where what is paid is what power costs, the award is as near to the optimum as the tolerance says.
    """
    first, rounds = ended.window.first, ended.outcome.rounds
    told = tables.messages[(tables.messages["step"] == first) & (tables.messages["round"] == rounds[-1].round)]
    for a in simulation.market.aggregators:
        bids = told[(told["kind"] == "bid") & (told["sender"] == a.name) & (told["received"] < rounds[-1].time_s)]
        postings = told[(told["kind"] == "price_posting") & (told["receiver"] == a.name)]
        assert len(bids) and postings["received"].min() < bids["sent"].max()
    market = simulation.prepared.scenario.market
    cost = ended.outcome.clearing.cost_usd + ended.outcome.own_cost_usd
    if market.settlement == "active+reactive":
        allowed = simulation.prepared.scenario.decentralized.tolerance * max(1.0, abs(ended.outcome.clearing.cost_usd))
        assert cost - ended.least_usd <= allowed + EXACT_USD * max(1.0, abs(ended.least_usd))


@pytest.mark.parametrize("seed", range(NORMAL))
def test_a_schedule_of_faults_leaves_awards_work_and_agreements_right(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(NORMAL, SLOW))
def test_a_thousand_schedules_of_faults_leave_awards_work_and_agreements_right(seed: int) -> None:
    check(seed)
