"""A run on a feeder behind a grounded wye-delta transformer: the AC tangent takes it, LinDist3Flow refuses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cosim.errors import InputError
from cosim.grid.feeder.feeder import Bus, Feeder, Line, LineCode, Load, Transformer
from cosim.grid.feeder.tables import write_feeder
from cosim.simulation.runner import run, validate

CODE = LineCode(
    "c", ((0.35, 0.15, 0.15), (0.15, 0.35, 0.15), (0.15, 0.15, 0.35)),
    ((1.0, 0.45, 0.45), (0.45, 1.0, 0.45), (0.45, 0.45, 1.0)), ((0.0,) * 3,) * 3,
)  # fmt: skip
FEEDER = Feeder(
    "grounding", "s", 12.47, 1.02,
    buses=(Bus("s", 12.47, grounded=True), Bus("m", 12.47, grounded=True), Bus("l", 4.16), Bus("e", 4.16)),
    lines=(Line("x", "s", "m", "abc", 9000.0, "c"), Line("y", "l", "e", "abc", 2000.0, "c")), line_codes=(CODE,),
    transformers=(Transformer("t", "m", "l", 2000.0, 12.47, "wye", 4.16, "delta", 1.0, 5.5),),
    loads=(Load("u", "m", "wye", "a", "PQ", 500.0, 200.0), Load("d", "e", "delta", "ab", "I", 200.0, 80.0)),
)  # fmt: skip


def scenario(folder: Path, **network: Any) -> Path:
    """One data center behind the transformer, for two hours."""
    write_feeder(FEEDER, folder / "feeder")
    data = {
        "schema_version": 1, "name": "grounding", "seed": 1, "mode": "uncoordinated",
        "clock": {"start": "2024-07-15T10:00:00", "steps": 2, "window_steps": 2, "gate_s": 3600, "round_s": 5},
        "network": {"feeder": "feeder", "v_min_pu": 0.9, "load_scale": {"constant": 1.0}, **network},
        "market": {"price_usd_per_mwh": {"values": [40.0, 60.0]}},
        "datacenters": [{"name": "dc", "bus": "e", "it_peak_kw": 300.0, "it_idle_kw": 80.0, "pue": 1.2}],
        "workload": {"utilisation": {"constant": 0.6}, "classes": [{"name": "fixed", "share": 1.0}]},
    }  # fmt: skip
    file = folder / "scenario.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


def test_the_market_clears_on_the_ac_tangent(tmp_path: Path) -> None:
    v = run(scenario(tmp_path, ac_rounds=3)).voltages
    assert abs(v["v_pu"] - v["v_ac_pu"]).max() <= 1e-6


def test_lindist3flow_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ground current") as caught:
        validate(scenario(tmp_path, model="lindist3flow"))
    assert caught.value.key == "network.model"
