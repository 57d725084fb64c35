"""Two settlements of random markets: every payment added up again from positions, draws and prices of both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cosim.coordination.base import Outcome
from cosim.scenario.calendar import Window
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation
from tests.fuzz.random_markets import MODES, RULES
from tests.fuzz.test_accounts import Audit, audited, parties

COUNT = int(os.environ.get("COSIM_FUZZ_COUNT", "100"))
QUICK = (19,)
"""Seeds of the normal suite."""
TARIFF = 52.0
KINDS: tuple[dict[str, Any], ...] = (
    {"kind": "perfect"},
    {"kind": "error", "std_1h": 0.05, "std_24h": 0.3},
    {"kind": "error", "std_1h": 0.1, "std_24h": 0.2, "truth": "sampled"},
    {"kind": "persistence", "last": "value", "first_day": "perfect"},
)


def settled_twice(seed: int) -> dict[str, Any]:
    """The random market of a seed with two settlements, and forecasts."""
    rng = np.random.default_rng([23, seed])
    overrides = parties(seed)
    active = overrides["market.settlement"] == "active"
    single = overrides["decentralized.rule"] in ("bundle", "anticipating")
    rules = [r for r in RULES if not (active and r == "bundle") and (single or r not in ("bundle", "anticipating"))]
    if len(overrides.get("aggregators", ())) > 1 and active:
        overrides["centralized.leader"] = "each"
    overrides |= {
        "clock.market": "two_settlement",
        "market.tariff_usd_per_mwh": {"constant": TARIFF},
        "forecasts": {"default": KINDS[int(rng.integers(len(KINDS)))]},
    }
    real_time: dict[str, Any] = {}
    if rng.random() < 0.8:
        real_time["mode"] = str(rng.choice(MODES))
        if real_time["mode"] == "decentralized" and rng.random() < 0.6:
            real_time["rule"] = str(rng.choice(rules))
    if rng.random() < 0.4:
        real_time["window_steps"] = int(rng.integers(1, 4))
    if rng.random() < 0.4:
        real_time |= {"price_floor_usd_per_mwh": -10.0, "price_cap_usd_per_mwh": 80.0}
    if rng.random() < 0.5:
        real_time["gate_s"] = int(rng.integers(5, 1795))
    return {**overrides, **{f"market.real_time.{key}": value for key, value in real_time.items()}}


class Watched(Simulation):
    """A simulation that keeps what each day was agreed on at."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self.days: list[tuple[Window, Outcome]] = []
        super().__init__(*args, **more)

    def _take(self, window: Window, outcome: Outcome, welfare_usd: float | None) -> None:
        if window.stage == "day_ahead":
            self.days.append((window, outcome))
        super()._take(window, outcome, welfare_usd)


class TwiceAudit(Audit):
    """The accounts of a run with two settlements, in which data centers hold what days were agreed on at."""

    def __init__(self, seed: int) -> None:
        simulation = Watched(prepare(*load_scenario("ieee37", settled_twice(seed))))
        self.read(simulation)
        self.held: dict[tuple[int, str, str], tuple[float, float, float]] = {}
        places = [place[1:] for place in simulation._accounting.terminals]
        for window, outcome in simulation.days:
            p_kw, prices = 1000 * outcome.clearing.p_mw, outcome.clearing.prices
            for t in range(window.first, window.last_exclusive):
                for k, place in enumerate(places):
                    at = t - window.first, k
                    self.held[t, *place] = p_kw[at], prices.p_usd_per_mwh[at], prices.q_usd_per_mvarh[at]

    def of_data_centers(self) -> Iterator[tuple[tuple[int, str, str], float]]:
        real_time, market = self.scenario.market.real_time, self.scenario.market
        mode, rule = real_time.mode or self.scenario.mode, real_time.rule or self.scenario.decentralized.rule
        factor = {d.name: d.power_factor for d in self.scenario.datacenters}
        told = mode == "decentralized" and rule == "tariff"
        for row, spec, bus in self.rows_of_data_centers():
            step, kvar_per_kw = row["step"], np.tan(np.arccos(factor[row["datacenter"]]))
            floor, cap = real_time.price_floor_usd_per_mwh, real_time.price_cap_usd_per_mwh
            floor = market.price_floor_usd_per_mwh if floor is None else floor
            cap = market.price_cap_usd_per_mwh if cap is None else cap
            floor = floor if spec.price_floor_usd_per_mwh is None else spec.price_floor_usd_per_mwh
            cap = cap if spec.price_cap_usd_per_mwh is None else spec.price_cap_usd_per_mwh
            p, q = self.dlmp(step, bus, row["phase"])
            if told and self.steps.loc[step, "rounds"] > 0:
                own = spec.tariff_usd_per_mwh
                p, q = TARIFF if own is None else float(own.constant or 0), 0.0
            p = self.limited(p, floor, cap)
            held_kw, held_p, held_q = self.held[step, row["datacenter"], row["phase"]]
            beside_kw = row["p_kw"] - held_kw
            paid = self.owed(held_p, held_q, held_kw, kvar_per_kw * held_kw)
            paid += self.owed(p, q, beside_kw, kvar_per_kw * beside_kw)
            yield (step, spec.name, row["datacenter"]), -paid


@pytest.mark.parametrize("seed", QUICK)
def test_the_accounts_of_two_settlements_add_up(seed: int) -> None:
    assert audited(TwiceAudit(seed)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", sorted({*range(COUNT)} - {*QUICK}))
def test_the_accounts_of_any_two_settlements_add_up(seed: int) -> None:
    assert audited(TwiceAudit(seed)) == []
