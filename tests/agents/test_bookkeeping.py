"""What an aggregator books as its own cost, against the amounts that its tables show."""

from __future__ import annotations

import mesa
import numpy as np
import pytest

from cosim.agents.dca.aggregator import DataCenterAggregator
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare

OVERRIDES = {"clock.steps": 2, "clock.window_steps": 1}


def test_own_cost_is_that_of_the_work_the_tables_show() -> None:
    """A watt served too much in one window is not waiting for in the next, whatever the next window's plan says."""
    prepared = prepare(*load_scenario("ieee37", OVERRIDES))
    spec = prepared.scenario.workload
    agent = DataCenterAggregator(mesa.Model(), "dca", prepared, prepared.scenario.datacenters, 0)
    first, second = prepared.calendar.windows()
    agent.adopt(agent.open_window(first))
    agent.commit(0)
    agent.ledger.served[:, :, 0] += 1e-6
    p_mw = agent.open_window(second)
    plan = agent._x.copy()
    plan[agent._model._columns_of("served")[:, :, 0]] -= 5e-7
    agent.adopt(p_mw, plan)
    cost_usd, tables = agent.commit(1)
    work = tables["work"]
    delay = {c.name: c.delay_cost_usd_per_mwh_h for c in spec.classes}
    shown = np.array([delay[k] for k in work["class"]]) * work["deferred_mwh"] * agent.hours
    shown += spec.late_cost_usd_per_mwh * work["late_mwh"]
    assert cost_usd == pytest.approx(shown.sum(), abs=1e-9)
