"""Hourly limits against OpenDSS: random demand inside the box, and one site's limit against bisection.

    python -m cosim.experiments.benchmarks.network.envelopes draws --draws 1000
    python -m cosim.experiments.benchmarks.network.envelopes bisection --count 50

``draws``: every demand from nothing to the limits must keep every limit of the network. In each step demand is drawn
at random, evenly inside the box, at its corners, and near the upper one, and OpenDSS solves it with the operator's
dispatch that the limits were worked out at. ``bisection``: the largest draw of one site at which OpenDSS keeps every
limit, at random buses and hours, against the limit by ``max_sum``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.operator import DistributionSystemOperator
from cosim.constants import KILO
from cosim.coordination.sharing import find_sharing
from cosim.grid.feeder.flows import flow_ends
from cosim.grid.feeder.limits import LimitBook, NetworkLimits
from cosim.grid.linear.branch_flows import ac_flows
from cosim.grid.opendss.circuit import AcCircuit
from cosim.protocol.envelopes import Envelope
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.scenario.schema import Scenario
from cosim.simulation.simulation import Simulation

Array = NDArray[np.float64]
ONE_PHASE = ("ab", "bc", "ca")
FEEDERS = ("ieee37", "ieee123")
BUSES = {"dc718": "48", "dc736": "60", "dc740": "83"}
LOWER_TAPS = {"reg4.a": 2, "reg4.b": 0, "reg4.c": 1}
"""Where IEEE 123 breaks no upper limit when its load is light and no data center draws anything."""
ROOM = 1e-9
"""Least limit (MW) that an error is told relative to."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A window with its limits, and OpenDSS to try them out in.

    Attributes:
        operator: whose window it is. envelope: its limits. dispatch: (steps, own variables) that the operator expects.
        circuit: of its own. limits, book: of the network. firm: (steps, limits) how far each is broken with nothing
            drawn or with the firm parts, 0 where it is kept.
    """

    operator: DistributionSystemOperator
    envelope: Envelope
    dispatch: Array
    circuit: AcCircuit
    limits: NetworkLimits
    book: LimitBook
    firm: Array

    def beyond(self, t: int, p_mw: Array) -> Array:
        """(limits,) how far OpenDSS is beyond each limit at a demand (terminals,): pu, share of a rating, percent."""
        operator = self.operator
        self.circuit.move_to(operator.feeder_at(t))
        drawn = [(x, KILO * p, KILO * q) for x, p, q in operator.injections(p_mw, self.dispatch[t])]
        ac = self.circuit.solve(float(operator.load_scale[t]), drawn)
        if not ac.converged:  # the iteration began far away, at the demand before
            ac = self.circuit.solve(float(operator.load_scale[t]), drawn)
        buses = self.limits.unbalance_buses
        flows = ac_flows(self.circuit) if self.limits.phase_kva else None
        rates = [{b: getattr(ac.unbalance[b], rate) for b in buses if b in ac.unbalance} for rate in
                 ("vuf_pct", "pvur_pct")]  # fmt: skip
        if not ac.converged:
            return np.full(len(self.book.limit), np.inf)
        found = self.book.beyond(self.book.values(np.array(list(ac.voltages.values())), flows, *rates))
        return np.where(self.book.kinds == "rating", found / self.book.limit, found)

    @property
    def firm_mw(self) -> Array:
        """(terminals,) what each may always draw."""
        found, envelope = self.envelope.p_max_mw[0].copy(), self.envelope
        for firm, site in zip(envelope.firm_mw, envelope.sites, strict=True):
            found[list(envelope.places[site])] = firm / len(envelope.places[site])
        return np.asarray(found)


def opened(scenario: Scenario, path: Path) -> Opened:
    """The first window of a scenario in mode ``envelope``, with the limits that its operator posts.

    Args:
        path: what the scenario names is looked for beside it.
    """
    simulation = Simulation(prepare(scenario, path))
    market, operator = simulation.market, simulation.market.operators[0]
    assert isinstance(operator, DistributionSystemOperator)
    window = next(iter(simulation.prepared.calendar.windows()))
    declared = market.declared(window)
    market.operator.open_limited(window, declared)
    solution = operator.clearing.solve(declared)
    dispatch = np.array([operator.clearing.own(t, solution) for t in range(window.steps)])
    envelope = operator.envelope(declared, find_sharing(market.scenario))
    limits, circuit = simulation.prepared.feeders[0].limits, AcCircuit(operator.feeder)
    labels = flow_ends(operator.feeder).labels if limits.phase_kva else ()
    voltages = tuple(circuit.solve(1.0, []).voltages)
    book = LimitBook(limits, voltages, labels, limits.unbalance_buses, limits.unbalance_buses)
    found = Opened(operator, envelope, dispatch, circuit, limits, book, np.zeros((window.steps, len(book.limit))))
    firm_mw = found.firm_mw
    for t in range(window.steps):
        found.firm[t] = np.maximum(np.maximum(found.beyond(t, 0 * firm_mw), found.beyond(t, firm_mw)), 0.0)
    return found


def random_demand(p_max_mw: Array, rng: np.random.Generator) -> Array:
    """A demand (terminals,) inside a box: evenly, at a corner, or near the upper one."""
    kind = rng.integers(3)
    share = rng.random(len(p_max_mw))
    if kind == 1:
        share = np.round(share)
    return np.asarray(p_max_mw * (1 - (1 - share) ** 8 if kind == 2 else share))


def worst_of_draws(case: Opened, draws: int, seed: int) -> tuple[float, int]:
    """How far the worst of all draws is beyond a limit that holds at the firm parts (pu, or share), and its step.

    At the upper corner as well, which is no random draw.
    """
    rng, worst, where = np.random.default_rng(seed), -np.inf, 0
    for t, p_max in enumerate(case.envelope.p_max_mw):
        for number in range(draws + 1):
            p_mw = random_demand(p_max, rng) if number else p_max
            beyond = float((case.beyond(t, p_mw) - case.firm[t]).max())
            if beyond > worst:
                worst, where = beyond, t
    return worst, where


def bisected_mw(case: Opened, most_mw: float, tolerance_mw: float = 1e-6) -> float:
    """Largest draw (MW) of the only site at which OpenDSS keeps every limit that it keeps with nothing drawn."""
    low, high = 0.0, most_mw
    share = np.ones(len(case.operator.terminals)) / len(case.operator.terminals)
    if (case.beyond(0, high * share) <= case.firm[0] + ROOM).all():
        return high
    while high - low > tolerance_mw:
        middle = (low + high) / 2
        good = (case.beyond(0, middle * share) <= case.firm[0] + ROOM).all()
        low, high = (middle, high) if good else (low, middle)
    return low


def sites(feeder: str) -> dict[str, Any]:
    """Overrides that put three sites on a feeder, at places that limit each other."""
    if feeder == "ieee37":
        return {}
    return {
        "network.feeder": feeder, "generators": [], "network.taps": LOWER_TAPS, "network.load_scale.scale": 0.8,
        **{f"datacenters.{name}.bus": bus for name, bus in BUSES.items()},
    }  # fmt: skip


MOST_KW = 6000.0
ALL_WAITS = {"name": "all", "share": 1, "max_delay_steps": 1}


def random_site(plain: Scenario, buses: list[str], scale: Array, rng: np.random.Generator) -> Scenario:
    """A random hour and bus for one site, which nothing but the network limits."""
    three_wire = plain.network.feeder == "ieee37"
    connection = "three_phase" if rng.random() < 0.6 or not three_wire else str(rng.choice(ONE_PHASE))
    site = {
        "name": "dc", "bus": str(rng.choice(buses)), "connection": connection, "it_peak_kw": MOST_KW,
        "it_idle_kw": 0.0, "pue": 1.0, "power_factor": float(rng.uniform(0.9, 1.0)),
        "agreement": {"firm_kw": 0.0},
    }  # fmt: skip
    network = {"load_scale": {"constant": float(rng.choice(scale))}, "feeder_ratings": bool(rng.random() < 0.5)}
    data = plain.model_dump(mode="json")
    return Scenario.model_validate({
        **data, "network": {**data["network"], **network}, "clock": {**data["clock"], "steps": 1, "window_steps": 1},
        "generators": [], "datacenters": [site], "envelope": {"rule": "max_sum"},
        "workload": {"utilisation": {"constant": 0.5}, "classes": [ALL_WAITS]},
    })  # fmt: skip


def main() -> None:
    """Print the figures of one of the two comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("draws", "bisection"))
    parser.add_argument("--draws", type=int, default=1000, help="random demands a step")
    parser.add_argument("--count", type=int, default=50, help="random buses and hours")
    parser.add_argument("--rules", nargs="+", default=["equal"], help="rules of sharing")
    parser.add_argument("--feeders", nargs="+", default=list(FEEDERS))
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    if told.what == "draws":
        for feeder in told.feeders:
            for rule in told.rules:
                began = time.perf_counter()
                case = opened(*load_scenario("ieee37_flexible", {**sites(feeder), "envelope.rule": rule}))
                took = time.perf_counter() - began
                worst, t = worst_of_draws(case, told.draws, told.seed)
                count = (told.draws + 1) * len(case.envelope.p_max_mw)
                broken = int((case.firm > 1e-4).any(axis=1).sum())
                limited = int(np.isin(case.envelope.status, ("limited",)).sum())
                print(
                    f"{feeder} {rule}: {count} demands, worst {worst:.2e} (pu or share) beyond a limit, step {t}; "
                    f"{limited} limits below all that is flexible; {broken} steps in which firm parts break one; "
                    f"limits in {took:.2f} s", flush=True,
                )  # fmt: skip
        return
    for feeder in told.feeders:
        errors, kinds = bisection_errors(feeder, told.count, told.seed)
        print(
            f"{feeder}: {len(errors)} of {told.count} buses and hours with room; error of the limit median "
            f"{100 * np.median(errors):.4f} %, largest {100 * np.max(errors):.4f} %; limited by {kinds}", flush=True,
        )  # fmt: skip


def bisection_errors(feeder: str, count: int, seed: int) -> tuple[Array, dict[str, int]]:
    """Relative errors of limits against bisection where there is room, and what limited how often."""
    rng, errors = np.random.default_rng(seed), []
    kinds: dict[str, int] = {}
    plain, path = load_scenario("ieee37_flexible", sites(feeder))
    of = prepare(plain, path).feeders[0]
    buses = [b.name for b in of.feeder.buses if b.phases == "abc" and b.name != of.feeder.source_bus]
    for _ in range(count):
        case = opened(random_site(plain, buses, of.load_scale, rng), path)
        limit = float(case.envelope.limit_mw[0, 0])
        kind = case.envelope.binding[0, 0][0] or "nothing"
        kinds[kind] = kinds.get(kind, 0) + 1
        truth = bisected_mw(case, MOST_KW / KILO)
        if truth > 1e-3:
            errors.append(abs(limit - truth) / truth)
    return np.array(errors), kinds


if __name__ == "__main__":
    main()
