"""Agents that a user brings: a class outside the package, named by its import path in a scenario file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cosim
from cosim.simulation.runner import RunResult

MODULE = '''
from dataclasses import replace

import numpy as np

from cosim.agents.dca import DataCenterAggregator
from cosim.agents.dso import DistributionSystemOperator
from cosim.protocol.roles import Prices

THRESHOLD = 60.0
FLAT = 42.0


class ThresholdAggregator(DataCenterAggregator):
    """Takes every price above the threshold for prohibitive, every other one for nothing."""

    def respond(self, posting):
        seen = np.where(posting.price_p_usd_per_mwh > THRESHOLD, 1000.0, 0.0)
        return super().respond(replace(posting, price_p_usd_per_mwh=seen, price_q_usd_per_mvarh=0.0 * seen))


class FlatTariff(DistributionSystemOperator):
    """Charges the same for every MWh, whatever its clearing says."""

    def clear(self, p_mw):
        return self._flat(super().clear(p_mw))

    def settle(self, p_mw, support):
        return self._flat(super().settle(p_mw, support))

    def _flat(self, clearing):
        flat = np.full_like(clearing.p_mw, FLAT)
        return replace(clearing, prices=Prices(flat, 0.0 * flat))
'''

FROM_NOTHING = '''
import numpy as np

from cosim.grid.feeder.connections import terminals_of
from cosim.protocol.roles import TerminalLoad
from cosim.protocol.messages import Bid
from cosim.optimization.qp.parametric import ParametricQP


class ConstantLoad:
    """Draws 100 kW at each site, come what may; shares no code with the aggregator of the package."""

    def __init__(self, model, name, prepared, sites, first_column):
        self.name = name
        self.columns = slice(first_column, first_column + len(sites))
        self.sites, self.feeder = sites, prepared.feeder

    def terminals(self):
        return [TerminalLoad(s.name, terminals_of(self.feeder, s.bus, s.connection, s.name)[0], 0.2, 0.0)
                for s in self.sites]

    def open_window(self, window):
        self.p_mw = np.full((window.steps, len(self.sites)), 0.1)
        return self.p_mw

    def respond(self, posting):
        return Bid(sender=self.name, receiver=posting.sender, step=posting.step, round=posting.round,
                   p_mw=self.p_mw, q_mvar=0.0 * self.p_mw, regret_usd=0.0, cost_usd=0.0)

    def problem(self, names):
        variables = [name for row in names for name in row]
        size = len(variables)
        return ParametricQP.build(cost=np.zeros(size), eq_matrix=np.eye(size), eq_rhs=np.full(size, 0.1),
                                  variables=variables, eq_rows=[f"fixed.{name}" for name in variables])

    def adopt(self, p_mw, solution=None):
        return 0.0

    def commit(self, t):
        names = [s.name for s in self.sites]
        demand = {"step": t, "datacenter": names, "phase": "abc", "p_kw": 100.0, "q_kvar": 0.0, "utilisation": 0.5}
        return 0.0, {"demand": demand, "work": {}}
'''

SCENARIO = """
base: ieee37
name: mine
clock: {start: "2024-07-15T20:00:00", steps: 4}
"""
HEURISTIC = "\naggregators:\n  - {name: dca, agent: 'my_agents:ThresholdAggregator'}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of a user's own, on the search path for modules."""
    place = tmp_path_factory.mktemp("user")
    (place / "my_agents.py").write_text(MODULE)
    (place / "from_nothing.py").write_text(FROM_NOTHING)
    sys.path.insert(0, str(place))
    yield place
    sys.path.remove(str(place))
    for module in ("my_agents", "from_nothing"):
        sys.modules.pop(module, None)


def run(folder: Path, text: str) -> RunResult:
    path = folder / "mine.yaml"
    path.write_text(SCENARIO + text)
    return cosim.run(path)


@pytest.fixture(scope="module")
def heuristic(folder: Path) -> RunResult:
    return run(folder, HEURISTIC + "decentralized: {rule: best_response, max_rounds: 5}\n")


def test_a_threshold_heuristic_runs_no_batch_work_above_its_threshold(heuristic: RunResult) -> None:
    batch = heuristic.work.query("`class` == 'batch'").groupby("step")["served_mwh"].sum().to_numpy()
    dear = (heuristic.steps["price_sub_usd_per_mwh"] > 60.0).to_numpy()
    assert dear.tolist() == [True, True, False, False]
    assert batch[dear] == pytest.approx(0.0, abs=1e-6) and batch[~dear].sum() > 0.1


def test_a_heuristic_aggregator_serves_its_work(heuristic: RunResult) -> None:
    assert heuristic.kpis["unserved_mwh"] == pytest.approx(0.0, abs=1e-7)


def test_a_heuristic_aggregator_costs_more_than_the_optimum(heuristic: RunResult) -> None:
    gap = heuristic.kpis["welfare_gap"]
    assert gap is not None and gap > 1e-6


@pytest.fixture(scope="module")
def flat(folder: Path) -> RunResult:
    return run(
        folder,
        "operator: {agent: 'my_agents:FlatTariff'}\ndecentralized: {rule: best_response, tolerance: 0.2}\n",
    )


def test_a_flat_tariff_charges_every_mwh_alike(flat: RunResult) -> None:
    energy, paid = flat.kpis["energy_mwh"], flat.kpis["dca_payment_usd"]
    assert energy is not None and paid == pytest.approx(42.0 * energy, rel=1e-9)


def test_a_flat_tariff_gives_no_reason_to_wait(flat: RunResult) -> None:
    assert flat.work["deferred_mwh"].max() == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("mode", ["uncoordinated", "decentralized", "welfare", "centralized"])
def test_an_aggregator_needs_nothing_but_the_interface(folder: Path, mode: str) -> None:
    found = run(folder, f"mode: {mode}\naggregators:\n  - {{name: dca, agent: 'from_nothing:ConstantLoad'}}\n")
    assert found.kpis["energy_mwh"] == pytest.approx(4 * 0.3)


@pytest.mark.parametrize("agent", ["my_agents:Missing", "my_agents", "my_agents:THRESHOLD", "nowhere:Agent"])
def test_an_agent_that_is_not_there_is_refused(folder: Path, agent: str) -> None:
    with pytest.raises(cosim.InputError) as caught:
        run(folder, f"aggregators:\n  - {{name: dca, agent: '{agent}'}}\n")
    assert (caught.value.key, caught.value.value) == ("aggregators.dca.agent", agent)


def test_the_update_rule_of_the_documents_runs_as_it_stands(folder: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "negotiation.md").read_text()
    block = text.split("```python\n", 1)[1].split("```", 1)[0]
    (folder / "my_rules.py").write_text(block)
    found = run(folder, "decentralized: {rule: 'my_rules:Flat'}\n")
    assert len(found.rounds) == 1 and not found.steps["converged"].any()
    assert any("the first answer counts" in note for note in found.notes)


def test_an_update_rule_that_is_none_is_refused(folder: Path) -> None:
    with pytest.raises(cosim.InputError, match="no such update rule"):
        run(folder, "decentralized: {rule: 'my_agents:ThresholdAggregator'}\n")
