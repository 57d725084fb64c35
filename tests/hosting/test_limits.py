"""Hourly limits: against bisection in OpenDSS, and what must hold of them in any case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.errors import InputError
from cosim.experiments.benchmarks.hosting.bisection import Bisection
from cosim.grid.feeder.feeder import Feeder, Generator
from cosim.grid.feeder.limits import NetworkLimits, VoltageLimits
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.commands import circuit_commands
from cosim.grid.opendss.whole.reader import read_dss
from cosim.hosting import (
    Case,
    Connection,
    HourlyLimits,
    Injection,
    Surroundings,
    Tie,
    connection_at,
    hourly_limits,
    single_outages,
    surroundings_at,
    surroundings_of,
)
from cosim.hosting.case_limits import standing
from cosim.hosting.cells import allowed_kw
from cosim.hosting.drivers import drivers_of
from cosim.hosting.limits import NOTHING
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare

LARGEST_KW = 6000.0


def _around(feeder: Feeder, steps: int, kva: float, bus: str, controls: str = "fixed") -> Surroundings:
    """Random hours of load and sun, seeded; every branch rated."""
    rng = np.random.default_rng(steps)
    pv = connection_at(feeder, bus).terminals[0]
    given = -rng.uniform(0.0, 700.0, steps) * (rng.random(steps) < 0.6)
    limits = NetworkLimits(VoltageLimits(0.95, 1.05), {b.name: kva for b in feeder.branches})
    return Surroundings(feeder, limits, rng.uniform(0.3, 0.9, steps), (Injection(pv, given, 0 * given),),
                        controls=controls)  # type: ignore[arg-type]  # fmt: skip


@pytest.fixture(scope="module")
def ieee37() -> Surroundings:
    return _around(read_feeder("ieee37", Path(".")), 60, 1300.0, "711")


@pytest.fixture(scope="module")
def found(ieee37: Surroundings) -> HourlyLimits:
    feeder = ieee37.feeder
    connections = [*(connection_at(feeder, bus) for bus in ("701", "740", "775")), connection_at(feeder, "724", "741"),
                   connection_at(feeder, "740", "701", share=(1.0, 0.0))]  # fmt: skip
    cases = (Case("base"), Case("regulator at 0", taps={"reg1": 0}), Case("again"))
    return hourly_limits(ieee37, connections, cases, largest_kw=LARGEST_KW)


def _apart(around: Surroundings, limits: HourlyLimits, case: Case, picks: list[tuple[int, int]]) -> float:
    """Largest difference from bisection in OpenDSS, as a share of what is allowed."""
    at, k = standing(around, case), limits.cases.index(case.name)
    worst = 0.0
    for c, t in picks:
        oracle = Bisection(at.feeders[at.of_step[t]], around.limits)
        kw = oracle.largest_kw(around, t, limits.connections[c], LARGEST_KW)
        worst = max(worst, float(abs(limits.p_kw[k, c, t] - kw) / allowed_kw(np.array(kw))))
    return worst


@pytest.mark.parametrize("case", [Case("base"), Case("regulator at 0", taps={"reg1": 0})])
def test_limits_are_those_of_bisection_in_opendss(ieee37: Surroundings, found: HourlyLimits, case: Case) -> None:
    picks = [(c, t) for c in range(5) for t in (3 + c, 40 + c)]
    assert _apart(ieee37, found, case, picks) <= 1


def test_voltages_and_ratings_both_bind(found: HourlyLimits) -> None:
    kinds = {found.elements[k].kind for k in np.unique(found.binding)}
    assert {"voltage low", "rating"} <= kinds


def test_a_case_without_changes_has_the_limits_of_the_base_case(found: HourlyLimits) -> None:
    assert (found.p_kw[2] == found.p_kw[0]).all()
    assert (found.binding[2] == found.binding[0]).all()


def test_a_pair_that_draws_at_one_bus_has_the_limits_of_that_bus(found: HourlyLimits) -> None:
    assert np.abs(found.p_kw[0, 4] - found.p_kw[0, 1]).max() <= 0.01 * found.p_kw[0, 1].max()


def test_the_least_over_cases_is_their_minimum(found: HourlyLimits) -> None:
    p, binding, case = found.least()
    assert (p == found.p_kw.min(axis=0)).all()
    assert (binding == np.take_along_axis(found.binding, case[None], axis=0)[0]).all()


def test_interpolated_points_are_within_what_is_allowed(found: HourlyLimits) -> None:
    assert 0 <= found.error <= 1


def test_wider_limits_leave_no_less(ieee37: Surroundings, found: HourlyLimits) -> None:
    wide = NetworkLimits(VoltageLimits(0.93, 1.07), {name: 1500.0 for name in ieee37.limits.phase_kva})
    more = hourly_limits(replace(ieee37, limits=wide), found.connections, largest_kw=LARGEST_KW)
    assert (more.p_kw[0] >= found.p_kw[0] - allowed_kw(found.p_kw[0])).all()


def test_processes_change_nothing(ieee37: Surroundings, found: HourlyLimits) -> None:
    again = hourly_limits(ieee37, found.connections, largest_kw=LARGEST_KW, jobs=2)
    assert again.p_kw[0].tobytes() == found.p_kw[0].tobytes()


def test_a_draw_without_any_limit_reaches_the_cap(ieee37: Surroundings) -> None:
    limits = hourly_limits(ieee37, [connection_at(ieee37.feeder, "701")], largest_kw=50.0)
    assert (limits.p_kw == 50.0).all() and (limits.binding == NOTHING).all()


def test_a_base_case_beyond_its_limits_is_told_and_may_be_no_worse(ieee37: Surroundings) -> None:
    limits = NetworkLimits(VoltageLimits(0.995, 1.05))
    around = replace(ieee37, limits=limits)
    connection = connection_at(ieee37.feeder, "740")
    found = hourly_limits(around, [connection], largest_kw=LARGEST_KW)
    assert found.base_broken.any() and set(found.base["kind"]) == {"voltage low"}
    worst = int(np.flatnonzero(found.base_broken[0])[0])
    oracle = Bisection(ieee37.feeder, limits)
    assert abs(found.p_kw[0, 0, worst] - oracle.largest_kw(around, worst, connection, LARGEST_KW)) <= 5.0
    left_out = hourly_limits(around, [connection], largest_kw=LARGEST_KW, left_out=True)
    assert left_out.p_kw[0, 0, worst] > found.p_kw[0, 0, worst]


def test_a_base_case_without_a_solution_is_reported_as_such(ieee37: Surroundings) -> None:
    load = ieee37.load_scale.copy()
    load[7] = 40.0
    found = hourly_limits(replace(ieee37, load_scale=load), [connection_at(ieee37.feeder, "740")], largest_kw=100.0)
    assert np.flatnonzero(np.isnan(found.p_kw[0, 0])).tolist() == [7]
    assert found.base.query("kind == 'solution'")["steps"].tolist() == [1]


def test_a_draw_too_large_for_the_power_flow_is_named(ieee37: Surroundings) -> None:
    around = replace(ieee37, limits=NetworkLimits(VoltageLimits(0.5, 1.5)))
    connection = connection_at(ieee37.feeder, "775")
    found = hourly_limits(around, [connection], largest_kw=50_000.0)
    assert {found.elements[k].kind for k in np.unique(found.binding)} == {"solution"}
    kw = Bisection(ieee37.feeder, around.limits).largest_kw(around, 0, connection, 50_000.0)
    assert abs(found.p_kw[0, 0, 0] - kw) <= float(allowed_kw(np.array(kw)))


def test_an_svg_leaves_as_much_as_the_best_of_its_reactive_powers(ieee37: Surroundings, found: HourlyLimits) -> None:
    few = replace(ieee37, load_scale=ieee37.load_scale[:2], injections=tuple(
        replace(i, p_kw=i.p_kw[:2], q_kvar=i.q_kvar[:2]) for i in ieee37.injections))  # fmt: skip
    connection = found.connections[1]
    limits = hourly_limits(few, [connection], largest_kw=LARGEST_KW, svg_kvar=600.0)
    assert limits.q_kvar is not None and np.abs(limits.q_kvar).max() <= 600.0 + 1e-9
    oracle = Bisection(few.feeder, few.limits)
    for t in range(2):
        best = max(oracle.largest_kw(few, t, connection, LARGEST_KW, q) for q in np.linspace(-600.0, 600.0, 9))
        assert best - limits.p_kw[0, 0, t] <= float(allowed_kw(np.array(best)))
        own = oracle.largest_kw(few, t, connection, LARGEST_KW, float(limits.q_kvar[0, 0, t]))
        assert abs(own - limits.p_kw[0, 0, t]) <= float(allowed_kw(np.array(own)))
        assert limits.p_kw[0, 0, t] >= found.p_kw[0, 1, t] - 1.0


def test_a_line_out_leaves_its_buses_without_supply(ieee37: Surroundings) -> None:
    line = next(x for x in ieee37.feeder.lines if "740" in (x.from_bus, x.to_bus))
    cases = single_outages(ieee37.feeder, [line.name])
    found = hourly_limits(ieee37, [connection_at(ieee37.feeder, bus) for bus in ("740", "701")], cases,
                          largest_kw=LARGEST_KW)  # fmt: skip
    assert (found.p_kw[0, 0] == 0).all() and (found.p_kw[0, 1] > 0).all()
    assert found.elements[found.binding[0, 0, 0]].kind == "supply"


def test_controls_held_where_the_base_case_brings_them() -> None:
    feeder = read_feeder("ieee13", Path("."))
    around = _around(feeder, 12, 2500.0, "671", "held")
    assert feeder.controlled
    connections = [connection_at(feeder, bus) for bus in ("632", "675", "645")]
    found = hourly_limits(around, connections, largest_kw=LARGEST_KW)
    assert len(standing(around, Case("base")).feeders) > 1
    assert _apart(around, found, Case("base"), [(c, t) for c in range(3) for t in (0, 5, 9)]) <= 1


@pytest.mark.parametrize(
    ("case", "key"),
    [(Case("x", taps={"nowhere": 0}), "taps"), (Case("x", lines_out=("nowhere",)), "lines_out"),
     (Case("x", capacitors_off=("nowhere",)), "capacitors_off"), (Case("x", held=("nowhere",)), "held")],
)  # fmt: skip
def test_a_case_that_names_what_is_not_there_is_refused(ieee37: Surroundings, case: Case, key: str) -> None:
    with pytest.raises(InputError, match="case x") as error:
        hourly_limits(ieee37, [connection_at(ieee37.feeder, "740")], [case], largest_kw=10.0)
    assert error.value.key == key


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_series_follow_from_their_drivers(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    series = rng.normal(size=(30, rank)) @ rng.normal(size=(rank, 6)) + rng.normal(size=6)
    found = drivers_of(series)
    assert found.points.shape[1] == rank
    assert np.abs(found.series(found.points)[found.steps] - series).max() <= 1e-7


def test_a_tie_feeds_from_behind() -> None:
    around = _around(read_feeder("ieee37", Path(".")), 4, 2500.0, "711")
    case = Case("fed from 725", lines_out=("703-730",), ties=(Tie("725", "731", "723", 600.0, amps=400.0),))
    found = hourly_limits(around, [connection_at(around.feeder, "709")], [case], largest_kw=LARGEST_KW)
    at = standing(around, case)
    rated = replace(around.limits, phase_kva={**around.limits.phase_kva, **dict(at.switched.tie_kva)})
    oracle = Bisection(at.feeders[0], rated)
    for t in range(4):
        kw = oracle.largest_kw(around, t, found.connections[0], LARGEST_KW)
        assert abs(found.p_kw[0, 0, t] - kw) <= float(allowed_kw(np.array(kw)))


def test_a_tie_that_closes_a_loop_is_refused(ieee37: Surroundings) -> None:
    case = Case("loop", ties=(Tie("725", "731", "723", 600.0),))
    with pytest.raises(InputError, match="case loop"):
        hourly_limits(ieee37, [connection_at(ieee37.feeder, "740")], [case], largest_kw=10.0)


def test_unbalance_binds_where_it_is_limited() -> None:
    feeder = read_feeder("ieee13", Path("."))
    limits = NetworkLimits(VoltageLimits(0.8, 1.2), {}, ("671",), 3.0)
    around = Surroundings(feeder, limits, np.array([0.5]), controls="fixed")
    connection = Connection(("671",), (("a",),), (1.0,))
    found = hourly_limits(around, [connection], largest_kw=LARGEST_KW)
    assert found.elements[found.binding[0, 0, 0]].kind == "unbalance"
    x = float(found.p_kw[0, 0, 0])
    drawn = [(t, x, connection.reactive_ratio * x) for t in connection.terminals]
    assert AcCircuit(feeder).solve(0.5, drawn).unbalance["671"].vuf_pct == pytest.approx(3.0, abs=1e-3)


def test_a_circuit_named_by_its_script_has_the_limits_of_its_tables(tmp_path: Path) -> None:
    feeder = replace(read_feeder("ieee13", Path(".")), regulator_controls=(), capacitor_controls=())
    script = tmp_path / "feeder.dss"
    script.write_text("\n".join([*circuit_commands(feeder), "solve"]), encoding="utf-8")
    limits = NetworkLimits(VoltageLimits(0.9, 1.1))
    load = np.linspace(0.4, 1.0, 5)
    p_kw = []
    for one in (feeder, read_dss(script)):
        around = surroundings_at(one, limits, load)
        found = hourly_limits(around, [connection_at(one, bus) for bus in ("675", "680")], largest_kw=LARGEST_KW)
        p_kw.append(found.p_kw)
    assert (np.abs(p_kw[0] - p_kw[1]) <= 2e-3 * p_kw[0]).all()


def test_contingencies_of_a_circuit_are_refused(tmp_path: Path) -> None:
    script = tmp_path / "feeder.dss"
    script.write_text("\n".join([*circuit_commands(read_feeder("ieee13", Path("."))), "solve"]), encoding="utf-8")
    circuit = read_dss(script)
    around = surroundings_at(circuit, NetworkLimits(VoltageLimits(0.9, 1.1)), np.ones(2))
    with pytest.raises(InputError, match="feeders of tables"):
        hourly_limits(around, [connection_at(circuit, "675")], [Case("x", lines_out=("a",))], largest_kw=10.0)


def test_a_scenario_gives_its_load_and_sun() -> None:
    prepared = prepare(*load_scenario("ieee37")).only
    around = surroundings_of(prepared, {prepared.scenario.datacenters[0].name: np.full(prepared.calendar.steps, 300.0)})
    pv = [g for g in prepared.scenario.generators if g.kind == "pv"]
    assert (around.load_scale == prepared.load_scale).all()
    assert -sum(i.p_kw.sum() for i in around.injections[: len(pv)]) == pytest.approx(
        sum(g.p_max_kw * prepared.series(g.profile, "profile").sum() for g in pv if g.profile is not None)
    )
    assert sum(i.p_kw[0] for i in around.injections[len(pv) :]) == pytest.approx(300.0)


def test_sun_moves_the_photovoltaic_generators_of_a_feeder() -> None:
    feeder = read_feeder("ieee13", Path("."))
    unit = Generator("roof", "675", "wye", "a", "pv", 200.0, 10.0)
    sun = np.array([0.0, 0.5, 1.0])
    with_pv, limits = replace(feeder, generators=(unit,)), NetworkLimits(VoltageLimits(0.9, 1.1))
    around = surroundings_at(with_pv, limits, np.ones(3), sun)
    assert around.injections[0].p_kw.tolist() == [0.0, -100.0, -200.0]
    assert around.feeder.generators == ()


def test_the_sun_moves_no_generator_that_a_script_sets(tmp_path: Path) -> None:
    """What stands in the script would count twice."""
    script = tmp_path / "feeder.dss"
    roof = "new pvsystem.roof bus1=675.1 phases=1 kv=2.4 kva=100 pmpp=100 irradiance=1"
    script.write_text("\n".join([*circuit_commands(read_feeder("ieee13", Path("."))), roof, "solve"]), encoding="utf-8")
    limits = NetworkLimits(VoltageLimits(0.9, 1.1))
    with pytest.raises(InputError, match="as the script leaves them"):
        surroundings_at(read_dss(script), limits, np.ones(2), np.ones(2))
