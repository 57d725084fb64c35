"""What data centers pay in samples: as in the run, save what goes with the drawn price."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cosim.constants import KILO
from cosim.coordination.rules import find_rule
from cosim.coordination.settlement import in_real_time
from cosim.scenario.schema import Scenario
from cosim.sweep.evaluation.decided import Decided

Real = NDArray[np.float64]


def payment_usd(decided: Decided, price_usd_per_mwh: Real) -> Real:
    """(samples,) payment of the data centers at (samples, steps) drawn prices at the source.

    They draw as in the run. The part of their price that is energy goes with the drawn price; of two settlements that
    is the price of delivery, which they pay for what they draw beside their positions. Prices that were told beforehand
    (a tariff, limits of connections that are not firm) stay. Missing where a floor or a cap limits what is charged: the
    price that it limits is not known of what the run charged.
    """
    scenario = _last(decided)
    if _limited(scenario):
        return np.full(len(price_usd_per_mwh), np.nan)
    paid = float(decided.run.steps["dca_payment_usd"].sum())
    if _firm(scenario):
        return np.full(len(price_usd_per_mwh), paid)
    twice = scenario.clock.market == "two_settlement"
    kw = decided.run.deviations.rename(columns={"deviation_kw": "p_kw"}) if twice else decided.run.demand
    mw = kw.groupby("step")["p_kw"].sum().reindex(range(decided.steps), fill_value=0.0).to_numpy() / KILO
    moved = price_usd_per_mwh - decided.prepared.only.price_usd_per_mwh
    return np.asarray(paid + decided.prepared.calendar.step_hours * (moved * mw).sum(axis=1))


def payment_notes(decided: Decided) -> list[str]:
    """What is to be said of the payments."""
    scenario = _last(decided)
    if _limited(scenario):
        return ["what data centers pay is not told: a floor or a cap limits what they are charged, and how far the "
                "price without it is from there is not known of the run"]  # fmt: skip
    if _firm(scenario):
        return ["data centers pay prices that were told beforehand, whatever price is drawn"]
    return []


def _last(decided: Decided) -> Scenario:
    """The scenario as it is settled at delivery."""
    scenario = decided.prepared.scenario
    return in_real_time(scenario) if scenario.clock.market == "two_settlement" else scenario


def _limited(scenario: Scenario) -> bool:
    return any(limit is not None for spec in scenario.aggregators for limit in scenario.price_limits(spec))


def _firm(scenario: Scenario) -> bool:
    """Whether prices stay as they were told, whatever is delivered."""
    if scenario.mode == "decentralized":
        return find_rule(scenario.decentralized.rule).firm_prices
    return scenario.mode == "envelope"
