"""The accounts of parties: what the operator keeps, tariffs and caps of an owner, and who owns what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

import cosim
from cosim.agents.dca import DataCenterAggregator
from cosim.agents.dso import DistributionSystemOperator
from cosim.errors import InputError
from cosim.scenario.loading import load_scenario
from cosim.simulation.runner import RunResult

PLAIN: dict[str, Any] = {
    "clock.steps": 1, "network.losses": False, "network.load_scale": {"constant": 0.0}, "network.v_min_pu": 0.9,
    "datacenters.dc718.power_factor": 1.0, "datacenters.dc736.power_factor": 1.0, "datacenters.dc740.power_factor": 1.0,
}  # fmt: skip
TWO = [{"name": "dca", "datacenters": ["dc718", "dc736"]}, {"name": "dcb", "datacenters": ["dc740"]}]


def ran(mode: str = "uncoordinated", **changes: Any) -> RunResult:
    """A short run, with further keys given as ``market__settlement="active"``."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return cosim.run("ieee37", mode=mode, overrides={**PLAIN, **dotted})


def of(run: RunResult, **what: str) -> pd.Series:
    """The accounts of a kind, a party or a unit, added up, with ``net``, what it received less what it paid."""
    rows = run.accounts
    for column, value in what.items():
        rows = rows[rows[column] == value]
    assert len(rows), what
    sums = rows.drop(columns="step").select_dtypes("number").sum()
    return pd.Series({**sums, "net": sums["received_usd"] - sums["paid_usd"]})


def test_without_losses_and_limits_the_operator_keeps_nothing() -> None:
    run = ran(market__slope_usd_per_mwh_per_mw=20.0)
    turnover = of(run, kind="operator")["received_usd"]
    assert turnover > 1.0 and abs(of(run, kind="operator")["net"]) <= 1e-6 * turnover


def test_a_source_whose_price_rises_earns_what_lies_above_its_supply_curve() -> None:
    run, source = ran(market__slope_usd_per_mwh_per_mw=20.0), "upstream market"
    rent = (20.0 / 2 * (run.steps["p_sub_kw"] / 1000) ** 2).sum()
    assert of(run, party=source)["net"] - of(run, party=source)["own_cost_usd"] == pytest.approx(rent, rel=1e-9)


def test_what_a_rating_brings_the_operator_is_the_price_across_it_times_the_flow() -> None:
    run = ran(network__branch_rating_kva={"701-702": 300.0}, network__price_cap_usd_per_mwh=500.0, generators=[])
    legs = run.prices[(run.prices["bus"] == "740") & run.prices["phase"].isin(["ab", "bc", "ca"])]
    below = legs.groupby("step")["dlmp_p"].mean()
    steps = run.steps.set_index("step")
    rent = ((below - steps["price_sub_usd_per_mwh"]) * steps["p_sub_kw"] / 1000).sum()
    assert rent > 10.0 and of(run, kind="operator")["net"] == pytest.approx(rent, rel=1e-4)


def test_other_customers_pay_their_tariff_for_what_they_draw() -> None:
    run = ran(network__load_scale={"constant": 1.0}, market__customer_tariff_usd_per_mwh={"constant": 88.0})
    others = of(run, party="other customers")
    assert others["bought_kwh"] > 0 and others["paid_usd"] == pytest.approx(0.088 * others["bought_kwh"], rel=1e-12)
    assert others["reactive_usd"] == 0.0


def test_a_unit_is_in_the_accounts_of_its_owner() -> None:
    run = ran(generators__dg734__owner="dca")
    assert set(run.accounts.loc[run.accounts["unit"] == "dg734", "party"]) == {"dca"}


def test_each_aggregator_has_a_cap_of_its_own() -> None:
    capped = [{**TWO[0], "price_cap_usd_per_mwh": 1.0}, TWO[1]]
    run, free = ran(aggregators=capped, market__settlement="active"), ran(aggregators=TWO, market__settlement="active")
    assert of(run, party="dca")["paid_usd"] == pytest.approx(0.001 * of(run, party="dca")["bought_kwh"], rel=1e-12)
    assert of(run, party="dcb")["paid_usd"] == of(free, party="dcb")["paid_usd"]
    assert "the price cap of dca of 1 USD/MWh was charged in steps 0" in run.notes


def test_each_aggregator_has_a_tariff_of_its_own() -> None:
    told = [TWO[0], {**TWO[1], "tariff_usd_per_mwh": {"constant": 47.0}}]
    run = ran("decentralized", aggregators=told, decentralized__rule="tariff",
              market__tariff_usd_per_mwh={"constant": 60.0})  # fmt: skip
    for party, price in (("dca", 60.0), ("dcb", 47.0)):
        assert of(run, party=party)["paid_usd"] == pytest.approx(price / 1000 * of(run, party=party)["bought_kwh"])


def test_a_cap_of_an_aggregator_below_the_floor_of_the_market_is_refused() -> None:
    capped = {"aggregators": [{**TWO[0], "price_cap_usd_per_mwh": 1.0}, TWO[1]], "market.price_floor_usd_per_mwh": 2.0}
    with pytest.raises(InputError, match="above price_cap") as refused:
        load_scenario("ieee37", capped)
    assert refused.value.key == "aggregators.dca"


def test_a_tariff_that_cannot_be_read_is_named_with_its_owner() -> None:
    told = [TWO[0], {**TWO[1], "tariff_usd_per_mwh": {"file": "nowhere.csv"}}]
    with pytest.raises(InputError) as refused:
        ran(aggregators=told)
    assert str(refused.value.key).startswith("aggregators.dcb.tariff_usd_per_mwh")


def test_of_an_operator_without_books_there_are_no_accounts_and_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = DistributionSystemOperator.commit
    monkeypatch.setattr(DistributionSystemOperator, "commit", lambda self, t: replace(commit(self, t), accounts=None))
    run = ran()
    assert run.accounts.empty and any("operator dso does not say" in note for note in run.notes)


def test_cost_that_an_aggregator_books_on_no_site_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    commit = DataCenterAggregator.commit

    def dearer(self: DataCenterAggregator, t: int) -> Any:
        usd, rows = commit(self, t)
        return usd + 3.0, rows

    monkeypatch.setattr(DataCenterAggregator, "commit", dearer)
    run = ran()
    assert of(run, kind="aggregator")["own_cost_usd"] == pytest.approx(3.0)
    assert of(run)["own_cost_usd"] == pytest.approx(run.steps["social_cost_usd"].sum(), rel=1e-12)
