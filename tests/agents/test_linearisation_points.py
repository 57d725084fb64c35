"""Where a window is linearised: at a dispatch that clears to itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cosim.agents.dso.linearisation import Point
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.simulation import Simulation


@given(st.floats(-3.0, 0.9), st.floats(-1.0, 1.0), st.floats(-5.0, 5.0))
def test_a_clearing_that_is_linear_in_the_dispatch_is_met_after_two(slope: float, where: float, start: float) -> None:
    """x -> slope x + c has its fixed point at c / (1 - slope), which a secant through two clearings meets."""
    constant, point, cleared = where * (1 - slope), Point(np.array([start]), None), []
    for _ in range(2):
        cleared.append(slope * point.dispatch + constant)
        point = point.towards(cleared[-1])
    if np.min(cleared) <= where <= np.max(cleared):  # it does not leave what has been cleared
        assert abs(point.dispatch[0] - where) <= 1e-6 * max(1.0, abs(start))


@given(st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=4), st.data())
def test_a_point_stays_within_what_has_been_cleared(start: list[float], data: st.DataObject) -> None:
    point, seen = Point(np.array(start), None), [start]
    for _ in range(4):
        numbers = st.lists(st.floats(-1.0, 1.0), min_size=len(start), max_size=len(start))
        seen.append(data.draw(numbers))
        point = point.towards(np.array(seen[-1]))
        assert (point.dispatch >= np.min(seen, axis=0) - 1e-12).all()
        assert (point.dispatch <= np.max(seen, axis=0) + 1e-12).all()


def test_an_opened_window_clears_to_where_it_is_linearised() -> None:
    """Three of four steps, within ten times what counts as settled; in the others reactive dispatch jumps."""
    simulation = Simulation(prepare(*load_scenario("ieee37", {"clock.steps": 24})))
    operator = simulation.market.operators[0]
    window = next(iter(simulation.prepared.calendar.windows()))
    declared = simulation.market.declared(window)
    operator.open_window(window, declared)
    clearing = operator.clearing
    cleared = clearing.decided(clearing.solve(declared))
    injected = clearing.model.injections.own
    there = np.array([operator._points.start(t, lambda *_: True).dispatch for t in range(24)])
    apart = np.abs(cleared[:, injected] - there[:, injected]).max(axis=1)
    assert np.quantile(apart, 0.75) <= 10 * operator.linearisation.settled_mw
