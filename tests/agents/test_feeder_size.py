"""A feeder of another size is the same feeder: where every power is k times as large, no price changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cosim
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.tables import read_feeder, write_feeder
from cosim.scenario.loading import find_scenario, scenario_data
from cosim.simulation.runner import RunResult

STEPS = 4


def of_size(feeder: Feeder, k: float) -> Feeder:
    """Loads and ratings k times as large on impedances 1/k as large: at the same voltages k times the flows."""

    def scaled(matrix: Any, by: float) -> Any:
        return tuple(tuple(by * value for value in row) for row in matrix)

    codes = tuple(
        replace(c, r_ohm_per_mile=scaled(c.r_ohm_per_mile, 1 / k), x_ohm_per_mile=scaled(c.x_ohm_per_mile, 1 / k),
                b_us_per_mile=scaled(c.b_us_per_mile, k))
        for c in feeder.line_codes
    )  # fmt: skip
    return replace(
        feeder, line_codes=codes, loads=tuple(replace(x, p_kw=k * x.p_kw, q_kvar=k * x.q_kvar) for x in feeder.loads),
        transformers=tuple(replace(t, kva=k * t.kva) for t in feeder.transformers),
    )  # fmt: skip


def run_of_size(k: float, folder: Path) -> RunResult:
    """ieee37_stress with everything k times as large."""
    write_feeder(of_size(read_feeder("ieee37"), k), folder / "feeder")
    data = scenario_data(find_scenario("ieee37_stress"))
    for unit in data["generators"]:
        for key in ("p_max_kw", "s_kva"):
            unit[key] *= k
        unit["cost_usd_per_mw2h"] = unit.get("cost_usd_per_mw2h", 0.0) / k
        unit["reactive_cost_usd_per_mvar2h"] = 3.0 / k
    for site in data["datacenters"]:
        for key in ("it_peak_kw", "it_idle_kw"):
            site[key] *= k
    changes = {"network.feeder": str(folder / "feeder"), "generators": data["generators"],
               "datacenters": data["datacenters"], "clock.start": "2024-07-15T17:00:00", "clock.steps": STEPS,
               "clock.window_steps": STEPS}  # fmt: skip
    return cosim.run("ieee37_stress", mode="uncoordinated", overrides=changes)


@pytest.mark.parametrize("k", [0.02, pytest.param(20.0, marks=pytest.mark.slow)])
def test_prices_do_not_depend_on_the_size_of_the_feeder(k: float, tmp_path: Path) -> None:
    usual, other = (run_of_size(size, tmp_path / str(size)) for size in (1.0, k))
    assert other.steps["p_sub_kw"].to_numpy() == pytest.approx(k * usual.steps["p_sub_kw"].to_numpy(), rel=1e-6)
    assert np.abs(other.prices["dlmp_p"] - usual.prices["dlmp_p"]).max() <= 1e-4 * usual.prices["dlmp_p"].abs().max()
