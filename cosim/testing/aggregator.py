"""An own aggregator against :class:`cosim.protocol.roles.AggregatorAgent`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.constants import KILO
from cosim.errors import InputError
from cosim.protocol.messages import Bid, PricePosting
from cosim.results.schemas import SCHEMAS
from cosim.results.tables import Tables, check
from cosim.scenario.calendar import Window
from cosim.simulation.simulation import Simulation
from cosim.testing.cases import COMMON, Array, Trial, import_path, is_table, raising, shape_of
from cosim.testing.report import Report

CHECKS = {
    **COMMON,
    "terminals": "terminals() tells each terminal with a largest power above 0 MW, as many as its columns",
    "declared": "open_window returns finite MW, (steps, own terminals), between 0 and the largest power",
    "state": "opening a window again, or bidding in it, changes nothing: only commit does",
    "answers": "every posting that arrives is answered by a Bid from it to the sender, of the same step and round",
    "shapes": "p_mw and q_mvar of a bid are (steps, own terminals)",
    "limits": "a bid is between 0 and the largest power of each terminal",
    "units": "power is in MW, and rows of tables in kW",
    "reactive": "q_mvar of a bid is reactive_ratio of the terminal times p_mw",
    "regret": "regret_usd is not negative, and not less than what its other answers in the window show",
    "adopted": "adopt returns its own cost, a finite number of USD",
    "delivered": "commit returns its cost and rows that fit the tables, of the power that it adopted",
}
_SLACK_MW = 1e-6
_SAME_KW = 1e-3
_HAND_USD_PER_MWH = (20.0, 200.0)
_FACTOR = 100.0
"""Power so many times too large is in another unit."""


def check_aggregator(
    agent: str | type[Any],
    *,
    parameters: Mapping[str, Any] | None = None,
    scenario: str | Path = "ieee37",
    folder: str | Path | None = None,
) -> Report:
    """Try an aggregator's class out in short runs, and say what of the contract it breaks.

    Args:
        agent: ``package.module:Class``, or the class.
        parameters: what the scenario says to it.
        scenario: in which it runs all data centers for a few hours; its rule and channel count, its clock does not.
        folder: in which its module is looked for first.

    Raises:
        InputError: the class cannot be imported, or the scenario cannot be used.
    """
    path = import_path(agent, folder)
    report = Report(path, CHECKS)
    told = {"name": "dca", "agent": path, "parameters": dict(parameters or {})}
    trial = Trial(report, scenario, {"aggregators": [told]})
    watched: list[_Watched] = []
    tables = trial.run_twice(lambda simulation: watched.append(_Watched(report, simulation)))
    if tables is not None:
        _check_answers(report, tables, watched[0].agent.name)
        watched[0].check_regrets()
    _ask_by_hand(report, trial.simulation())
    return report


@dataclass(slots=True)
class _Watched:
    """An aggregator whose methods are watched during a run."""

    report: Report
    simulation: Simulation
    agent: Any = field(init=False)
    p_max_mw: Array = field(init=False)
    ratio: Array = field(init=False)
    steps: int = 0
    first: int = 0
    adopted: Array | None = None
    bids: list[tuple[int, Array, Bid]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.agent = self.simulation.market.aggregators[0]
        loads = self.agent.terminals()
        self.p_max_mw = np.array([load.p_max_mw for load in loads], dtype=float)
        self.ratio = np.array([load.reactive_ratio for load in loads], dtype=float)
        count = self.agent.columns.stop - self.agent.columns.start
        sound = len(loads) == count and bool((self.p_max_mw > 0).all()) and bool(np.isfinite(self.p_max_mw).all())
        self.report.demand(sound, "terminals", f"{len(loads)} terminals of {count} columns, at most {self.p_max_mw} MW")
        for name in ("open_window", "respond", "adopt", "commit"):
            setattr(self.agent, name, partial(getattr(self, f"_{name}"), getattr(self.agent, name)))

    def _open_window(self, own: Any, window: Window) -> Any:
        with raising(self.report, "open_window"):
            declared = own(window)
            again = np.array(own(window))
        self.steps, self.first = window.steps, window.first
        if self._sound(declared, "declared", "open_window returned"):
            same = np.array_equal(np.asarray(declared), again)
            self.report.demand(same, "state", "open_window called twice for one window declares two demands")
        return declared

    def _respond(self, own: Any, posting: PricePosting) -> Any:
        with raising(self.report, "respond"):
            bid = own(posting)
        if not isinstance(bid, Bid):
            self.report.add("answers", f"respond returned a {type(bid).__name__}, not a Bid")
            return bid
        told = (bid.sender, bid.receiver, bid.step, bid.round)
        asked = (self.agent.name, posting.sender, posting.step, posting.round)
        addressed = f"sender, receiver, step and round of a bid are {told}, expected {asked}"
        self.report.demand(told == asked, "answers", addressed)
        if self._sound(bid.p_mw, "shapes", "p_mw of a bid is"):
            off = float(np.abs(bid.q_mvar - self.ratio * bid.p_mw).max())
            self.report.demand(off <= _SLACK_MW, "reactive", f"q_mvar of a bid is off by up to {off:.3g} Mvar")
            self.bids.append((self.first, self._charged(posting), bid))
        low = f"regret_usd {bid.regret_usd:.6g} is negative"
        self.report.demand(bid.regret_usd >= 0, "regret", low)
        return bid

    def _sound(self, values: object, check: str, said: str) -> bool:
        """Whether a power is of the right shape; what is out of range is told."""
        expected = f"expected ({self.steps}, {len(self.p_max_mw)})"
        if not is_table(values, self.steps, len(self.p_max_mw)):
            self.report.add(check, f"{said} {shape_of(values)}, {expected}")
            return False
        power = np.asarray(values, dtype=float)
        over = float((power / self.p_max_mw).max())
        told = f"{said} up to {power.max():.4g} and at least {power.min():.4g}, largest powers are {self.p_max_mw} MW"
        in_range = power.min() >= -_SLACK_MW and bool((power <= self.p_max_mw + _SLACK_MW).all())
        if over > _FACTOR:
            self.report.add("units", f"{told}: these look like kW")
        elif not in_range:
            self.report.add("limits" if check == "shapes" else check, told)
        return True

    def _charged(self, posting: PricePosting) -> Array:
        """Price per MWh drawn that is charged (steps, own terminals)."""
        reactive = self.simulation.market.scenario.market.settlement == "active+reactive"
        extra = self.ratio * posting.price_q_usd_per_mvarh if reactive else 0.0
        return np.asarray(posting.price_p_usd_per_mwh + extra)

    def check_regrets(self) -> None:
        """Compare what each bid says of its regret with what the other bids of the window would have cost."""
        hours = self.simulation.market.hours
        for first, price, bid in self.bids:
            if bid.price_usd_per_mwh is not None:
                continue
            paid = bid.cost_usd + hours * float((price * bid.p_mw).sum())
            for _, _, other in (b for b in self.bids if b[0] == first):
                shown = paid - other.cost_usd - hours * float((price * other.p_mw).sum())
                told = f"a bid says {bid.regret_usd:.4g} USD, and another of its own is {shown:.4g} USD cheaper"
                small = shown <= bid.regret_usd + 1e-6 * max(1.0, abs(paid))
                self.report.demand(small, "regret", told, broken=False)

    def _adopt(self, own: Any, p_mw: Array, *solution: Any) -> Any:
        with raising(self.report, "adopt"):
            cost = own(p_mw, *solution)
        finite = isinstance(cost, int | float | np.number) and math.isfinite(cost)
        self.report.demand(finite, "adopted", f"adopt returned {cost!r}, expected its own cost in USD")
        self.adopted = np.array(p_mw, dtype=float)
        return cost

    def _commit(self, own: Any, t: int) -> Any:
        with raising(self.report, "commit"):
            found = own(t)
        try:
            cost, tables = found
            kept = math.isfinite(cost) and "demand" in tables
            frames = {name: check(name, pd.DataFrame(columns)) for name, columns in tables.items() if columns}
        except (TypeError, ValueError) as error:
            told = error.message if isinstance(error, InputError) else str(error)
            self.report.add("delivered", f"commit returned what does not fit the tables ({told})")
            return found
        known = ", ".join(SCHEMAS)
        self.report.demand(kept, "delivered", f"commit returns (cost in USD, rows by table), with 'demand' of {known}")
        if kept and "demand" in frames and self.adopted is not None:
            self._check_delivered(t, frames["demand"])
        return found

    def _check_delivered(self, t: int, demand: pd.DataFrame) -> None:
        drawn = getattr(self.agent, "drawn_mw", None)
        power = self.adopted if drawn is None else np.asarray(drawn())
        assert power is not None
        expected_kw, told_kw = KILO * float(power[t - self.first].sum()), float(demand["p_kw"].sum())
        told = f"rows of step {t} have {told_kw:.6g} kW, and it adopted {expected_kw:.6g} kW"
        if expected_kw > 0 and told_kw * _FACTOR < expected_kw:
            self.report.add("units", f"{told}: these look like MW")
        else:
            right = abs(told_kw - expected_kw) <= _SAME_KW + 1e-6 * expected_kw
            self.report.demand(right, "delivered", told)


def _check_answers(report: Report, tables: Tables, name: str) -> None:
    """See in the log of messages that every posting that arrived was answered."""
    arrived = tables.messages.dropna(subset=["received"])
    asked = arrived[(arrived["receiver"] == name) & (arrived["kind"] == PricePosting.kind)]
    said = tables.messages[(tables.messages["sender"] == name) & (tables.messages["kind"] == Bid.kind)]
    answered = set(zip(said["receiver"], said["step"], said["round"], strict=True))
    open_ = [key for key in zip(asked["sender"], asked["step"], asked["round"], strict=True) if key not in answered]
    told = f"{len(open_)} of {len(asked)} postings were not answered, the first of (sender, step, round) {open_[:1]}"
    report.demand(not open_, "answers", told)


def _ask_by_hand(report: Report, simulation: Simulation | None) -> None:
    """Open a window, ask for bids at prices that rise and that fall over its steps, and open it again."""
    if simulation is None:
        return
    agent, operator = simulation.market.aggregators[0], simulation.market.operator.seats[0].operator
    window = next(iter(simulation.prepared.calendar.windows()))
    try:
        watched = _Watched(report, simulation)
        before = np.array(agent.open_window(window))
        rising = np.linspace(*_HAND_USD_PER_MWH, len(before))[:, None] * np.ones(before.shape[1])
        for number, prices in enumerate((rising, rising[::-1]), 1):
            agent.respond(
                PricePosting(
                    sender=operator.name, receiver=agent.name, step=window.first, round=number,
                    price_p_usd_per_mwh=prices, price_q_usd_per_mvarh=0.0 * prices,
                )  # fmt: skip
            )
        after = np.array(agent.open_window(window))
    except Exception as error:
        report.add("raised", f"asked by hand, it raised {type(error).__name__}: {error}")
        return
    report.demand(np.array_equal(before, after), "state", "after bids, the same window opens with another demand")
    watched.check_regrets()
