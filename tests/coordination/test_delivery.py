"""Windows are agreed on by what is known when they open, and delivered on what happens."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import cosim
from cosim.coordination.base import Outcome
from cosim.errors import InputError
from cosim.scenario.calendar import Window
from cosim.scenario.forecasts.evolution import innovations
from cosim.scenario.loading import load_scenario
from cosim.scenario.preparation import prepare
from cosim.simulation.runner import RunResult
from cosim.simulation.simulation import Simulation

from .conftest import MODES, kpi

HOURS: dict[str, Any] = {"clock.start": "2024-07-15T09:00:00", "clock.steps": 4, "clock.window_steps": 2,
                         "workload.utilisation.scale": 0.7}  # fmt: skip
ERROR = {"kind": "error", "std_1h": 0.05, "std_24h": 0.2}
TWO_WINDOWS: dict[str, Any] = {"clock.steps": 2, "clock.window_steps": 1}
KINDS: dict[str, dict[str, Any]] = {
    "error": {"default": ERROR},
    "sampled": {"default": {**ERROR, "truth": "sampled"}},
    "persistence": {"default": {"kind": "persistence"}},
    "last value": {"default": {"kind": "persistence", "last": "value"}},
}


class Watched(Simulation):
    """A simulation that keeps what each window decided, and in which what happens may be changed after it opened."""

    change_at: int | None = None

    def __init__(self, *args: Any, **more: Any) -> None:
        self.decided: list[bytes] = []
        super().__init__(*args, **more)
        assert self.information is not None
        opened = self.information.open

        def open_and_change(window: Window) -> None:
            opened(window)
            if window.index == self.change_at:
                change(self, window.first)

        self.information.open = open_and_change  # type: ignore[method-assign]

    def _take(self, window: Window, outcome: Outcome, welfare_usd: float | None) -> None:
        clearing = outcome.clearing
        parts = (clearing.p_mw, clearing.prices.p_usd_per_mwh, clearing.prices.q_usd_per_mvarh)
        self.decided.append(b"".join(np.ascontiguousarray(x).tobytes() for x in parts))
        super()._take(window, outcome, welfare_usd)


def change(simulation: Simulation, first: int) -> None:
    """Change every series from a step on, in place, so that whoever holds what happens would see it."""
    for known in simulation.information._known.values():  # type: ignore[union-attr]
        truth = known.truth
        truth.setflags(write=True)
        truth[first:] = 0.5 * truth[first:] + 0.05


def watched(kind: str, mode: str, change_at: int | None, scenario: str = "ieee37", **changes: Any) -> Watched:
    scenario, path = load_scenario(scenario, {**HOURS, "mode": mode, "forecasts": KINDS[kind], **changes})
    made = Watched(prepare(scenario, path))
    made.change_at = change_at
    made.run()
    return made


def assert_no_leak(kind: str, mode: str, **changes: Any) -> None:
    plain = watched(kind, mode, None, **changes)
    stride = plain.prepared.calendar.steps // len(plain.decided)  # steps from one window to the next
    for at in range(1, len(plain.decided)):
        changed = watched(kind, mode, at, **changes)
        assert changed.decided[: at + 1] == plain.decided[: at + 1]
        ours, others = (x.books.tables().steps["dso_cost_usd"].to_numpy() for x in (plain, changed))
        assert not np.allclose(ours[stride * at :], others[stride * at :])  # what was changed does count in delivery


@pytest.mark.parametrize(("kind", "mode"), [("sampled", "welfare"), ("persistence", "uncoordinated")])
def test_no_decision_knows_what_happens_after_its_window_opens(kind: str, mode: str) -> None:
    assert_no_leak(kind, mode, **TWO_WINDOWS)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_no_decision_of_a_rolling_market_knows_what_happens(mode: str) -> None:
    """Nor does it where a battery of the operator joins the steps, so that delivery looks ahead too."""
    battery = {"name": "b1", "kind": "battery", "bus": "740", "connection": "per_phase", "energy_kwh": 400,
               "power_kw": 200, "s_kva": 220}  # fmt: skip
    rolling = {"clock.market": "rolling", "clock.gate_s": 1800, "resources": [battery]}
    assert_no_leak("error", mode, **rolling)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_no_decision_of_any_mode_knows_what_happens_after_its_window_opens(kind: str, mode: str) -> None:
    assert_no_leak(kind, mode)


def test_limits_of_connections_do_not_know_what_happens_after_their_window_opens() -> None:
    assert_no_leak("error", "envelope", scenario="ieee37_flexible", **TWO_WINDOWS)


@pytest.mark.parametrize("mode", [pytest.param(m, marks=() if m == "welfare" else pytest.mark.slow) for m in MODES])
def test_by_a_table_of_forecasts_no_decision_knows_what_happens_later(mode: str, tmp_path: Path) -> None:
    table = tmp_path / "vintages.csv"
    at = [f"2024-07-15T{hour:02d}:00" for hour in range(8, 13)]
    rows = [f"{ours},{valid},{20 + 7 * i + 3 * k}" for i, ours in enumerate(at) for k, valid in enumerate(at)]
    table.write_text("\n".join(["issued,valid,usd_per_mwh", *rows]))
    entry = {"name": "p", "of": "market.price_usd_per_mwh", "kind": "file", "file": str(table), "column": "usd_per_mwh",
             "issued": "issued", "time": "valid"}  # fmt: skip
    KINDS["file"] = {"default": {"kind": "persistence"}, "series": [entry]}
    try:
        assert_no_leak("file", mode, **TWO_WINDOWS)
    finally:
        del KINDS["file"]


@pytest.mark.slow
def test_errors_after_a_window_opens_decide_nothing_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is revealed from the beginning of the first step on changes what happens, not what its window decides."""
    found = []
    for later in (0.0, 0.3):
        with monkeypatch.context() as patched:
            patched.setattr("cosim.scenario.forecasts.drawing.innovations", _shifted(later))
            made = watched("sampled", "welfare", None)
        found.append((made.decided, made.prepared.load_scale))
    (one, load), (other, changed) = found
    assert one[0] == other[0] and one[1] != other[1]
    assert (load != changed)[1:].all()


def _shifted(later: float) -> Any:
    def moved(*args: Any) -> dict[str, np.ndarray]:
        slots = args[-1]
        start = slots.a_step * slots.reach
        return {k: np.where(np.arange(len(v)) >= start, v + later, v) for k, v in innovations(*args).items()}

    return moved


@cache
def run_of(mode: str, forecasts: str | None, seed: int = 1) -> RunResult:
    changes = {**HOURS, **({} if forecasts is None else {"forecasts": KINDS[forecasts]})}
    return cosim.run("ieee37", mode=mode, seed=seed, overrides=changes)


def test_without_coordination_forecasts_change_nothing() -> None:
    """Work runs on arrival and dispatch is that of what happens, so that forecasts have no part in it."""
    plain, ours = run_of("uncoordinated", None), run_of("uncoordinated", "error")
    for name in ("social_cost_usd", "dca_cost_usd", "energy_mwh", "ac_v_min_pu"):
        assert kpi(ours, name) == pytest.approx(kpi(plain, name), rel=1e-9)


@pytest.mark.slow
def test_the_planner_does_no_better_on_forecasts_than_with_foresight() -> None:
    assert kpi(run_of("welfare", "error"), "social_cost_usd") > kpi(run_of("welfare", None), "social_cost_usd")


def test_work_above_the_forecast_is_done_in_time() -> None:
    work = run_of("decentralized", "sampled").tables.work
    nominal = run_of("decentralized", None).tables.work
    assert work["arrived_mwh"].sum() != pytest.approx(nominal["arrived_mwh"].sum(), rel=1e-3)
    assert work["late_mwh"].max() < 1e-6
    assert work["served_mwh"].sum() == pytest.approx(work["arrived_mwh"].sum(), rel=1e-6)


@pytest.mark.slow
def test_the_books_of_what_is_delivered_sum_to_nothing() -> None:
    accounts = run_of("decentralized", "error").tables.accounts
    assert accounts.groupby("step")["received_usd"].sum().to_numpy() == pytest.approx(
        accounts.groupby("step")["paid_usd"].sum().to_numpy(), abs=1e-2
    )


@pytest.mark.slow
def test_a_seed_changes_what_happens_where_it_is_drawn_and_only_there() -> None:
    ours, others = (run_of("uncoordinated", "sampled", seed).tables.steps for seed in (1, 2))
    assert (ours["price_sub_usd_per_mwh"] != others["price_sub_usd_per_mwh"]).all()
    fixed = [run_of("uncoordinated", "error", seed).tables.steps["price_sub_usd_per_mwh"] for seed in (1, 2)]
    assert fixed[0].equals(fixed[1])


def test_a_tariff_stays_as_it_was_told() -> None:
    tariff = {"market.tariff_usd_per_mwh": {"constant": 61.0}, "decentralized.rule": "tariff"}
    run = cosim.run("ieee37", overrides={**HOURS, "forecasts": KINDS["error"], **tariff})
    paid, energy = kpi(run, "dca_payment_usd"), kpi(run, "energy_mwh")
    assert paid == pytest.approx(61.0 * energy, rel=1e-9)


def test_vintages_that_say_what_happens_leave_everything_as_with_foresight(tmp_path: Any) -> None:
    plain = run_of("welfare", None)
    hours = range(9, 13)
    price = plain.tables.steps["price_sub_usd_per_mwh"]
    lines = [f"2024-07-15T08:00,2024-07-15T{h:02}:00,{p!r}" for h, p in zip(hours, price.tolist(), strict=True)]
    table = tmp_path / "v.csv"
    table.write_text("\n".join(["issued,valid,usd_per_mwh", *lines]))
    entry = {"name": "p", "of": "market.price_usd_per_mwh", "kind": "file", "file": str(table), "column": "usd_per_mwh",
             "time": "valid"}  # fmt: skip
    ours = cosim.run("ieee37", mode="welfare", overrides={**HOURS, "forecasts.series": [entry]})
    for name in ("steps", "prices", "dispatch", "demand", "work"):
        assert getattr(ours.tables, name).equals(getattr(plain.tables, name))


def test_the_value_of_information_is_the_cost_above_a_run_with_foresight() -> None:
    asked = {**HOURS, "forecasts": KINDS["error"], "results.value_of_information": True}
    run, plain = cosim.run("ieee37", mode="welfare", overrides=asked), run_of("welfare", None)
    assert kpi(run, "perfect_social_cost_usd") == kpi(plain, "social_cost_usd")
    worth = kpi(run, "social_cost_usd") - kpi(plain, "social_cost_usd")
    assert kpi(run, "value_of_information_usd") == pytest.approx(worth, abs=1e-9)


def test_an_entry_about_no_series_is_refused() -> None:
    entry = {"name": "p", "of": "market.price_usd_per_mw", "kind": "persistence"}
    with pytest.raises(InputError, match="market.price_usd_per_mwh"):
        cosim.run("ieee37", overrides={**HOURS, "forecasts.series": [entry]})


def test_a_forecast_of_ones_own_is_given_what_is_over_and_nothing_else(tmp_path: Path) -> None:
    """It is found beside the scenario, and what it says is what windows see."""
    (tmp_path / "flat_forecasts.py").write_text(
        "import numpy as np\n"
        "from pydantic import BaseModel\n"
        "class Flat:\n"
        "    class Parameters(BaseModel):\n"
        "        value: float\n"
        "    def __init__(self, facts, parameters):\n"
        "        self.facts, self.value = facts, parameters.value\n"
        "    def forecast(self, moment, known):\n"
        "        assert len(known) == moment.over <= moment.first\n"
        "        return np.full(self.facts.calendar.steps - moment.first, self.value)\n"
    )
    entry = {"name": "load", "of": "network.load_scale", "kind": "flat_forecasts:Flat", "parameters": {"value": 0.125}}
    text = {"base": "ieee37", "name": "own", "forecasts": {"series": [entry]}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(text))
    scenario, path = load_scenario(tmp_path / "own.yaml", HOURS)
    made = Simulation(prepare(scenario, path))
    assert made.information is not None
    operator = made.market.operators[0]
    assert (operator.load_scale == 0.125).all()  # type: ignore[attr-defined]
    made.run()
    assert np.array_equal(operator.load_scale[-1:], made.prepared.load_scale[-1:])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "told"),
    [("[1.0]", "a value for each step"), ("1 / 0", "ZeroDivisionError"), ("[float('nan')] * 4", "not finite")],
)
def test_a_forecast_that_is_none_is_refused(tmp_path: Path, answer: str, told: str) -> None:
    (tmp_path / "no_forecasts.py").write_text(
        "class NoForecast:\n"
        "    def __init__(self, facts): pass\n"
        f"    def forecast(self, moment, known): return {answer}\n"
    )
    text = {"base": "ieee37", "name": "own", "forecasts": {"default": {"kind": "no_forecasts:NoForecast"}}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(text))
    with pytest.raises(InputError, match=told):
        cosim.run(tmp_path / "own.yaml", overrides=HOURS)
