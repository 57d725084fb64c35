"""What no run may lose: energy, work, money and the charge of batteries, counted again from the tables."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import numpy as np
import pytest

from cosim.results.tables import Tables
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.books import Books
from cosim.simulation.simulation import Simulation
from tests.fuzz.random_markets import random_market

COUNT = int(os.environ.get("COSIM_FUZZ_COUNT", "200"))
QUICK = (0, 1, 2, 4, 5, 6, 23)
"""Seeds of the normal suite, without those that take half a minute; 23 is a leader's schedule with late work."""
LEGS = ("ab", "bc", "ca")
NEAR = 1e-6
EXPONENT = {"PQ": 0, "I": 1, "Z": 2}


class Counted:
    """A run counted again; every check returns (quantity, what the run says, what was counted)."""

    def __init__(self, seed: int) -> None:
        market = random_market(seed)
        self.simulation = Simulation(prepare(*load_scenario("ieee37", market.overrides)))
        self.books: Books = self.simulation.run()
        self.tables: Tables = self.books.tables()
        self.prepared = self.simulation.prepared
        self.scenario = self.prepared.scenario
        self.hours = self.prepared.calendar.step_hours
        self.steps = self.tables.steps.set_index("step")

    def checks(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        yield from self.energy()
        yield from self.work()
        yield from self.charge()
        yield "payment", self.steps["dca_payment_usd"].to_numpy(), self.payment()
        yield "own cost", self.steps["dca_own_cost_usd"].to_numpy(), self.own_cost()
        yield "operator's cost", self.steps["dso_cost_usd"].to_numpy(), self.operators_cost()
        parts = self.steps["dso_cost_usd"] + self.steps["dca_own_cost_usd"]
        yield "social cost", self.steps["social_cost_usd"].to_numpy(), parts.to_numpy()

    def energy(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Source = base load at its voltages + data centers - generation (+ losses), kW, in AC and in the linear model.

        The linear model is counted where it has neither losses nor base load, whose linearisation is its own.
        """
        ours = self.drawn() - self.generated()
        base = self.base_load_kw("v_ac_pu")
        losses = self.steps["losses_ac_kw"].to_numpy()
        yield "energy in AC", self.steps["p_sub_ac_kw"].to_numpy(), base + ours + losses
        if not self.scenario.network.losses and not self.prepared.load_scale.any():
            yield "energy, linear", self.steps["p_sub_kw"].to_numpy(), ours

    def drawn(self) -> np.ndarray:
        return self.tables.demand.groupby("step")["p_kw"].sum().to_numpy()

    def generated(self) -> np.ndarray:
        units = self.tables.dispatch.assign(kw=lambda d: d["p_kw"].where(d["kind"] != "import", 0.0))
        return units.groupby("step")["kw"].sum().to_numpy()

    def base_load_kw(self, column: str) -> np.ndarray:
        """Each load of the feeder between its legs: nominal power times the voltage to the power of its model."""
        volts = self.tables.voltages.pivot(index="step", columns=["bus", "phase"], values=column)
        total = np.zeros(len(volts))
        for load in self.prepared.feeder.loads:
            for leg in load.phases if isinstance(load.phases, tuple) else (load.phases,):
                v = volts[load.bus, leg].to_numpy()
                total += load.p_kw * v ** EXPONENT[load.model]
        return total * self.prepared.load_scale[: len(volts)]

    def work(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Arrived so far = served so far + waiting, for each class over all sites (work may move), MWh."""
        sums = self.tables.work.groupby(["class", "step"])[["arrived_mwh", "served_mwh", "deferred_mwh"]].sum()
        for name, rows in sums.groupby(level="class"):
            served = rows["served_mwh"].cumsum() + rows["deferred_mwh"]
            yield f"work of {name}", rows["arrived_mwh"].cumsum().to_numpy(), served.to_numpy()

    def net_mw(self, name: str) -> np.ndarray:
        """What the battery of a site takes (+) or gives: what the site draws less what its computing needs."""
        (site,) = (d for d in self.scenario.datacenters if d.name == name)
        drawn = self.tables.demand.query("datacenter == @name").groupby("step")["p_kw"].sum() / 1000
        served = self.tables.work.query("datacenter == @name").groupby("step")["served_mwh"].sum()
        return (drawn - site.pue * (site.it_idle_kw / 1000 + served / self.hours)).to_numpy()

    def charge(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Charge in the books = initial + efficiency * taken - given / efficiency, within its limits, MWh."""
        (aggregator,) = self.simulation.market.aggregators
        for i, site in enumerate(self.scenario.datacenters):
            if site.battery is None:
                yield f"no battery at {site.name}", self.net_mw(site.name), np.zeros(len(self.steps))
                continue
            spec, net = site.battery, self.net_mw(site.name)
            full = spec.energy_kwh / 1000
            flow = spec.efficiency * np.maximum(net, 0.0) - np.maximum(-net, 0.0) / spec.efficiency
            after = spec.initial * full + self.hours * np.cumsum(flow)
            booked = float(aggregator.charge_mwh[i])  # type: ignore[attr-defined]
            yield f"charge of {site.name}", np.array([booked]), after[-1:]
            yield f"limits of {site.name}", np.clip(after, spec.reserve * full, full), after

    def payment(self) -> np.ndarray:
        """Price at each connection (the mean of the legs of a balanced one) times what it draws, USD by step."""
        market, charged = self.scenario.market, np.zeros(len(self.steps))
        bus = {d.name: d.bus for d in self.scenario.datacenters}
        prices = self.tables.prices.set_index(["step", "bus", "phase"])[["dlmp_p", "dlmp_q"]]
        low = -math.inf if market.price_floor_usd_per_mwh is None else market.price_floor_usd_per_mwh
        high = math.inf if market.price_cap_usd_per_mwh is None else market.price_cap_usd_per_mwh
        taxed = self.scenario.mode == "decentralized" and self.scenario.decentralized.rule == "tariff"
        for row in self.tables.demand.to_dict("records"):
            legs = LEGS if row["phase"] == "abc" else (row["phase"],)
            p, q = np.mean([prices.loc[row["step"], bus[row["datacenter"]], leg] for leg in legs], axis=0)
            if taxed and self.steps.loc[row["step"], "rounds"] > 0:
                p, q = float(self.prepared.price_usd_per_mwh[row["step"]]), 0.0
            paid = min(max(p, low), high) * row["p_kw"]
            if market.settlement == "active+reactive":
                paid += q * row["q_kvar"]
            charged[row["step"]] += self.hours * paid / 1000
        return charged

    def own_cost(self) -> np.ndarray:
        """Waiting, lateness and wear of batteries, USD by step (moving is free here)."""
        spec = self.scenario.workload
        delay = {c.name: c.delay_cost_usd_per_mwh_h for c in spec.classes}
        rows = self.tables.work.assign(
            usd=lambda w: w["class"].map(delay) * self.hours * w["deferred_mwh"]
            + spec.late_cost_usd_per_mwh * w["late_mwh"]
        )
        cost = rows.groupby("step")["usd"].sum().to_numpy()
        for site in self.scenario.datacenters:
            if site.battery is not None:
                given = np.maximum(-self.net_mw(site.name), 0.0)
                cost = cost + site.battery.wear_usd_per_mwh * self.hours * given
        return np.asarray(cost)

    def operators_cost(self) -> np.ndarray:
        """Import, generation and broken limits at the price cap, USD by step."""
        market, steps = self.scenario.market, self.steps
        imported = steps["p_sub_kw"].to_numpy() / 1000
        price = steps["price_sub_usd_per_mwh"].to_numpy()
        cost = price * imported + market.slope_usd_per_mwh_per_mw / 2 * imported**2
        cost += steps["slack_kwh"].to_numpy() / 1000 / self.hours * self.scenario.network.price_cap_usd_per_mwh
        for unit in self.scenario.generators:
            mine = self.tables.dispatch.query("unit == @unit.name").groupby("step")[["p_kw", "q_kvar"]].sum()
            p, q = (mine / 1000).to_numpy().T
            cost += unit.cost_usd_per_mwh * p + unit.cost_usd_per_mw2h * p**2 + unit.reactive_cost_usd_per_mvar2h * q**2
        return np.asarray(self.hours * cost)


def broken(seed: int) -> list[str]:
    """What a seed's run does not conserve to a millionth (of the quantity, of one unit where that is smaller)."""
    found = []
    for what, said, counted in Counted(seed).checks():
        off = np.abs(said - counted) / np.maximum(1.0, np.abs(counted))
        if not off.max(initial=0.0) <= NEAR:
            found.append(f"{what}: off by {off.max():.1e}")
    return found


@pytest.mark.parametrize("seed", QUICK)
def test_a_random_run_conserves(seed: int) -> None:
    assert broken(seed) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", sorted({*range(COUNT)} - {*QUICK}))
def test_every_random_run_conserves(seed: int) -> None:
    assert broken(seed) == []
