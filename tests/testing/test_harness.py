"""The harness for own classes: sound ones pass, and each broken one is told by the name of what it breaks."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from cosim.errors import InputError
from cosim.testing import check_aggregator, check_resource, check_rule

ROOT = Path(__file__).parents[2]
MODULE = '''
from dataclasses import replace

import numpy as np

from cosim.agents.dca import DataCenterAggregator
from cosim.agents.dso.resources import Resource, ResourceSpec, Symbol
from cosim.coordination.rules import Posted, Rule
from cosim.protocol.desk import Standing
from cosim.protocol.roles import Prices


class Noisy(DataCenterAggregator):
    """Random numbers that do not come from the seed."""

    def respond(self, posting):
        bid = super().respond(posting)
        share = np.random.default_rng().uniform(0.5, 0.9)
        return replace(bid, p_mw=share * bid.p_mw, q_mvar=share * bid.q_mvar)


class Deaf(DataCenterAggregator):
    """A process that reads no mail."""

    def run(self, env, desk):
        while True:
            opening = yield desk.opened
            yield env.timeout(opening.window.closes_s - env.now)
            desk.close(Standing(opening.declared_p_mw, self.adopt(opening.declared_p_mw), False))


class Kilowatts(DataCenterAggregator):
    def respond(self, posting):
        bid = super().respond(posting)
        return replace(bid, p_mw=1000 * bid.p_mw, q_mvar=1000 * bid.q_mvar)


class Drifting(DataCenterAggregator):
    """Opens each window a little differently."""

    opened = 0

    def open_window(self, window):
        self.opened += 1
        return super().open_window(window) * 0.99 ** self.opened


class Backwards(DataCenterAggregator):
    """Takes the last step's price for the first one's, and states its regret at that."""

    def respond(self, posting):
        return super().respond(replace(posting, price_p_usd_per_mwh=posting.price_p_usd_per_mwh[::-1]))


class Steady(Rule):
    penalty = 0.0

    def first(self, declared_p_mw, first_step):
        price = self.market.operator.opening_price(len(declared_p_mw))
        return Posted(Prices(price, 0.0 * price), penalty=self.penalty)

    def next(self, made):
        return self.first(made.p_mw, 0)


class Aimless(Steady):
    penalty = 50.0


class Meddling(Steady):
    def next(self, made):
        made.p_mw[:] *= 1.01
        return super().next(made)


class Spec(ResourceSpec):
    p_kw: float


class Heater(Resource):
    Spec = Spec
    kind = "heater"
    symbol = Symbol("heater", "h")

    def __init__(self, spec, site):
        super().__init__(spec, site)
        self.most = spec.p_kw / 1000

    def state(self, window):
        window.inject(self.terminals[0], window.active("p", -self.most, 0.0), None)


class InKilowatts(Heater):
    def __init__(self, spec, site):
        super().__init__(spec, site)
        self.most = spec.p_kw


class Counting(Heater):
    def state(self, window):
        self.most *= 1.01
        super().state(window)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("own")
    (place / "own_parts.py").write_text(MODULE)
    return place


@pytest.mark.parametrize(("name", "broken"), [
    ("Noisy", ["deterministic"]), ("Deaf", ["answers"]), ("Kilowatts", ["units"]),
    pytest.param("Drifting", ["state"], marks=pytest.mark.slow),
])  # fmt: skip
def test_a_broken_aggregator_is_told_what_it_breaks(folder: Path, name: str, broken: list[str]) -> None:
    assert check_aggregator(f"own_parts:{name}", folder=folder).broken == broken


@pytest.mark.slow
def test_the_aggregator_of_the_package_breaks_nothing() -> None:
    report = check_aggregator("cosim.agents.dca:DataCenterAggregator")
    assert report.findings == [], str(report)
    report.require()


@pytest.mark.slow
def test_a_regret_that_other_bids_refute_is_doubtful(folder: Path) -> None:
    report = check_aggregator("own_parts:Backwards", folder=folder)
    assert report.ok and [(f.check, f.broken) for f in report.findings] == [("regret", False)]


@pytest.mark.parametrize(("name", "broken"), [
    ("Meddling", ["unchanged"]),
    pytest.param("Steady", [], marks=pytest.mark.slow),
    pytest.param("Aimless", ["penalty"], marks=pytest.mark.slow),
])  # fmt: skip
def test_a_broken_rule_is_told_what_it_breaks(folder: Path, name: str, broken: list[str]) -> None:
    assert [b for b in check_rule(f"own_parts:{name}", folder=folder).broken if b != "raised"] == broken


@pytest.mark.parametrize(("name", "broken"), [
    ("Counting", ["state"]),
    pytest.param("Heater", [], marks=pytest.mark.slow),
    pytest.param("InKilowatts", ["units"], marks=pytest.mark.slow),
])  # fmt: skip
def test_a_broken_resource_is_told_what_it_breaks(folder: Path, name: str, broken: list[str]) -> None:
    report = check_resource(f"own_parts:{name}", {"bus": "740", "p_kw": 40}, folder=folder)
    assert report.broken == broken, str(report)


def test_a_failed_check_lists_its_findings(folder: Path) -> None:
    report = check_resource("own_parts:Heater", {"bus": "nowhere", "p_kw": 40}, folder=folder)
    assert report.broken == ["created"]
    with pytest.raises(AssertionError, match=re.escape("broken: created: ")):
        report.require()


def test_a_class_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be imported"):
        check_aggregator("nowhere_at_all:Agent", folder=tmp_path)


def teardown_module() -> None:
    sys.modules.pop("own_parts", None)
