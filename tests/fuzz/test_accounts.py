"""Who pays whom, added up again from prices, draws and dispatch: every mode, both markets, random parties."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cosim.results.tables import Tables
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.scenario.schema import AggregatorSpec
from cosim.simulation.simulation import Simulation
from tests.fuzz.random_markets import random_market

COUNT = int(os.environ.get("COSIM_FUZZ_COUNT", "100"))
QUICK = (36, 12, 9, 5, 22, 34, 23, 7)
"""Seeds of the normal suite: each mode twice, in both markets."""
LEGS = ("ab", "bc", "ca")
EXPONENT = {"PQ": 0, "I": 1, "Z": 2}
ZERO, NEAR = 1e-9, 1e-6


def parties(seed: int) -> dict[str, Any]:
    """The random market of a seed with further parties: batteries, flexible loads, SVGs, owners, tariffs and caps."""
    rng = np.random.default_rng([19, seed])
    overrides = dict(random_market(seed).overrides)
    overrides["centralized.time_limit_s"] = 5.0
    sites = [d["name"] for d in overrides["datacenters"]]
    single = overrides["decentralized.rule"] in ("bundle", "anticipating")
    if len(sites) > 1 and not single and rng.random() < 0.7:
        second = {"name": "dcb", "datacenters": sites[1:], "price_cap_usd_per_mwh": 110.0}
        if rng.random() < 0.5:
            second["tariff_usd_per_mwh"] = {"constant": 47.0}
        overrides["aggregators"] = [{"name": "dca", "datacenters": sites[:1]}, second]
    resources: list[dict[str, Any]] = []
    if rng.random() < 0.6:
        connection = str(rng.choice(["three_phase", "per_phase"]))
        resources.append({
            "name": "store", "kind": "battery", "bus": "741", "connection": connection, "energy_kwh": 300.0,
            "power_kw": 150.0, "s_kva": 160.0, "wear_usd_per_mwh": 4.0,
        })  # fmt: skip
    if rng.random() < 0.6:
        resources.append({
            "name": "pump", "kind": "flexible_load", "bus": "727", "connection": "bc", "p_max_kw": 120.0,
            "curtailed_usd_per_mwh": float(rng.uniform(20, 120)), "owner": "waterworks",
        })  # fmt: skip
    overrides["resources"] = resources
    overrides["svgs"] = [{"name": "svg1", "bus": "730", "kvar": 200.0}] if rng.random() < 0.5 else []
    if rng.random() < 0.4:
        overrides["market.customer_tariff_usd_per_mwh"] = {"constant": 88.0}
    return overrides


class Audit:
    """A run, and what each unit should have received less paid in each step, from its other tables alone."""

    def __init__(self, seed: int) -> None:
        self.read(Simulation(prepare(*load_scenario("ieee37", parties(seed)))))

    def read(self, simulation: Simulation) -> None:
        """Run a simulation and take what it leaves."""
        self.tables: Tables = simulation.run().tables()
        self.prepared = simulation.prepared
        self.scenario = self.prepared.scenario
        self.hours = self.prepared.calendar.step_hours
        self.steps = self.tables.steps.set_index("step")
        self.accounts = self.tables.accounts
        self.prices = self.tables.prices.set_index(["step", "bus", "phase"])[["dlmp_p", "dlmp_q"]]

    def limited(self, price: float, floor: float | None, cap: float | None) -> float:
        return min(max(price, -math.inf if floor is None else floor), math.inf if cap is None else cap)

    def owed(self, price_p: float, price_q: float, kw: float, kvar: float) -> float:
        """What is paid for a draw, USD."""
        both = self.scenario.market.settlement == "active+reactive"
        return self.hours * (price_p * kw + (price_q * kvar if both else 0.0)) / 1000

    def dlmp(self, step: int, bus: str, phase: str) -> tuple[float, float]:
        legs = LEGS if phase == "abc" else (phase,)
        p, q = np.mean([self.prices.loc[(step, bus, leg)] for leg in legs], axis=0)
        return float(p), float(q)

    def rows_of_data_centers(self) -> Iterator[tuple[dict[str, Any], AggregatorSpec, str]]:
        """(row of the demand, whose it is, its bus)."""
        owner = {site: a for a in self.scenario.aggregators for site in a.datacenters}
        (first, *_) = self.scenario.aggregators
        bus = {d.name: d.bus for d in self.scenario.datacenters}
        for row in self.tables.demand.to_dict("records"):
            yield row, owner.get(row["datacenter"], first), bus[row["datacenter"]]

    def of_data_centers(self) -> Iterator[tuple[tuple[int, str, str], float]]:
        """What data centers should have received less paid, as :meth:`expected`."""
        told = self.scenario.mode == "decentralized" and self.scenario.decentralized.rule == "tariff"
        for row, spec, bus in self.rows_of_data_centers():
            step = row["step"]
            p, q = self.dlmp(step, bus, row["phase"])
            if told and self.steps.loc[step, "rounds"] > 0:
                own = spec.tariff_usd_per_mwh
                p, q = float(self.prepared.price_usd_per_mwh[step]) if own is None else float(own.constant or 0), 0.0
            p = self.limited(p, *self.scenario.price_limits(spec))
            yield (step, spec.name, row["datacenter"]), -self.owed(p, q, row["p_kw"], row["q_kvar"])

    def limits_of_all(self) -> tuple[float | None, float | None]:
        """Floor and cap of the prices of all but data centers."""
        market = self.scenario.market
        return market.real_time.within(market.price_floor_usd_per_mwh, market.price_cap_usd_per_mwh)

    def expected(self) -> Iterator[tuple[tuple[int, str, str], float]]:
        """((step, party, unit), received less paid) of everybody but the operator, in parts that add up."""
        market = self.scenario.market
        everybody = self.limits_of_all()
        yield from self.of_data_centers()
        units = {u.name: u for u in (*self.scenario.generators, *self.scenario.svgs, *self.scenario.resources)}
        for row in self.tables.dispatch[self.tables.dispatch["kind"] != "import"].to_dict("records"):
            name = row["unit"] if row["unit"] in units else row["unit"].rpartition(".")[0]
            p, q = self.dlmp(row["step"], units[name].bus, row["phase"])
            paid = self.owed(self.limited(p, *everybody), q, -row["p_kw"], -row["q_kvar"])
            yield (row["step"], "waterworks" if name == "pump" else name, name), -paid
        volts = self.tables.voltages.set_index(["step", "bus", "phase"])["v_ac_pu"]
        tariff = self.prepared.customer_tariff_usd_per_mwh
        for step, scale in enumerate(self.prepared.load_scale[: len(self.steps)]):
            for load in self.prepared.feeder.loads:
                p, q = self.dlmp(step, load.bus, load.phases)
                p, q = (self.limited(p, *everybody), q) if tariff is None else (float(tariff[step]), 0.0)
                share = scale * volts.loc[(step, load.bus, load.phases)] ** EXPONENT[load.model]
                yield (step, "other customers", "customers"), -self.owed(p, q, share * load.p_kw, share * load.q_kvar)
        for step, row in self.steps.iterrows():
            asked = row["price_sub_usd_per_mwh"] + market.slope_usd_per_mwh_per_mw * row["p_sub_kw"] / 1000
            yield (int(str(step)), "upstream market", "import"), self.owed(asked, 0.0, row["p_sub_kw"], 0.0)

    def checks(self) -> Iterator[tuple[str, pd.Series, pd.Series]]:
        """(quantity, what the accounts say, what was counted), by step."""
        a, steps = self.accounts.assign(net=lambda d: d["received_usd"] - d["paid_usd"]), self.steps
        counted = pd.Series(0.0, index=pd.MultiIndex.from_frame(a[["step", "party", "unit"]]))
        for key, usd in self.expected():
            counted[key] += usd
        operator = self.scenario.operator.name
        for (step, party, _), usd in dict(counted).items():
            if party != operator:
                counted[step, operator, operator] -= usd
        yield "money", a.set_index(["step", "party", "unit"])["net"], counted
        own = a.groupby("step")["own_cost_usd"].sum()
        yield "own costs are the social cost", own, steps["social_cost_usd"]
        aggregators = [spec.name for spec in self.scenario.aggregators]
        theirs = a[a["party"].isin(aggregators)].groupby("step")
        yield "aggregators' own cost", theirs["own_cost_usd"].sum(), steps["dca_own_cost_usd"]
        yield "aggregators' payment", -theirs["net"].sum(), steps["dca_payment_usd"]
        energy = a[a["kind"] != "operator"].groupby("step")[["bought_kwh", "sold_kwh"]].sum()
        lost = (steps["losses_ac_kw"] + steps["p_sub_kw"] - steps["p_sub_ac_kw"]) * self.hours
        yield "energy: sold = bought + lost", energy["sold_kwh"], energy["bought_kwh"] + lost


def audited(audit: Audit) -> list[str]:
    """What does not add up in the accounts of a run."""
    found = []
    a = audit.accounts
    for what in ("received_usd", "reactive_usd"):
        paid = a["paid_usd"] if what == "received_usd" else 0.0
        for rows in (a.assign(step=0), a):
            net = (rows[what] - paid).groupby(rows["step"]).sum()
            turnover = (rows["received_usd"] + rows["paid_usd"]).groupby(rows["step"]).sum()
            if not (net.abs() <= ZERO * turnover).all():
                found.append(f"{what}: not zero by {net.abs().max():.1e}")
    for what, said, counted in audit.checks():
        off = (said - counted.reindex(said.index)).abs() / counted.abs().clip(lower=1.0).reindex(said.index)
        if not off.max() <= NEAR:
            found.append(f"{what}: off by {off.max():.1e} at {off.idxmax()}")
    return found


@pytest.mark.parametrize("seed", QUICK)
def test_the_accounts_of_a_random_run_add_up(seed: int) -> None:
    assert audited(Audit(seed)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", sorted({*range(COUNT)} - {*QUICK}))
def test_the_accounts_of_every_random_run_add_up(seed: int) -> None:
    assert audited(Audit(seed)) == []
