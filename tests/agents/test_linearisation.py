"""Clearing with the AC tangent: what is promised is what AC power flow gives, and prices are slopes of cost."""

from __future__ import annotations

import pytest

import cosim
from cosim.errors import InputError
from cosim.scenario.schema import NetworkSpec

AC = {"network.model": "ac-linear", "clock.steps": 3}


def test_the_cleared_voltages_are_those_of_ac() -> None:
    result = cosim.run("ieee37", mode="uncoordinated", overrides=AC)
    assert result.kpis["ac_error_max_pu"] is not None
    assert result.kpis["ac_error_max_pu"] <= 1e-4
    steps = result.steps
    assert steps["p_sub_kw"].to_numpy() == pytest.approx(steps["p_sub_ac_kw"].to_numpy(), abs=0.5)


def test_both_models_price_alike_where_both_are_right() -> None:
    ac = cosim.run("ieee37", mode="uncoordinated", overrides=AC)
    other = {**AC, "network.model": "lindist3flow"}
    linear = cosim.run("ieee37", mode="uncoordinated", overrides=other)
    keys = ["step", "bus", "phase"]
    both = ac.prices.merge(linear.prices, on=keys)
    assert len(both) == len(ac.prices) == len(linear.prices)
    assert both["energy_x"].to_numpy() == pytest.approx(both["energy_y"].to_numpy(), rel=1e-9)
    assert both["dlmp_p_x"].to_numpy() == pytest.approx(both["dlmp_p_y"].to_numpy(), rel=5e-3)


def test_the_tangent_without_losses_is_refused() -> None:
    with pytest.raises(InputError, match="always has losses"):
        cosim.run("ieee37", overrides={**AC, "network.losses": False})


@pytest.mark.parametrize(
    ("said", "model"),
    [({}, "ac-linear"), ({"losses": True}, "ac-linear"), ({"losses": False}, "lindist3flow"),
     ({"model": "lindist3flow"}, "lindist3flow")],
)  # fmt: skip
def test_the_model_is_the_tangent_unless_losses_are_left_out(said: dict[str, object], model: str) -> None:
    given = {"feeder": "ieee37", "load_scale": {"constant": 1.0}, **said}
    assert NetworkSpec.model_validate(given).model == model


@pytest.mark.parametrize(("feeder", "bus"), [("ieee13", "671"), ("ieee123", "76")])
@pytest.mark.parametrize("model", ["lindist3flow", "ac-linear"])
def test_a_feeder_with_a_neutral_is_cleared(feeder: str, bus: str, model: str) -> None:
    overrides = {
        "network.feeder": feeder,
        "network.model": model,
        "network.v_max_pu": 1.07,
        "clock.steps": 2,
        "generators": [],
        "remove": ["datacenters"],
        "datacenters": [{"name": "dc", "bus": bus, "it_peak_kw": 300, "it_idle_kw": 90, "pue": 1.2}],
        "workload.site_weight": {},
    }
    result = cosim.run("ieee37", mode="uncoordinated", overrides=overrides)
    assert result.kpis["ac_error_max_pu"] is not None
    assert result.kpis["ac_error_max_pu"] <= 1e-3
