"""What libraries keep alive is let go of: a process that has done many runs is as large as one that has done few."""

from __future__ import annotations

import gc
import weakref

import mesa
import pytest
from dss import CffiApiUtil

import cosim
from cosim.grid.feeder.tables import read_feeder
from cosim.grid.opendss.circuit import AcCircuit
from cosim.simulation.forget import forgetting


def test_models_and_circuits_of_a_block_do_not_stay() -> None:
    feeder = read_feeder("ieee13")
    own = mesa.Model(rng=1)
    first = mesa.Agent(own)
    mine = AcCircuit(feeder)
    before = mine.solve()
    earlier, made = set(CffiApiUtil._ctx_to_util), list[weakref.ref[object]]()
    for _ in range(5):
        with forgetting():
            model = mesa.Model(rng=1)
            mesa.Agent(model)
            AcCircuit(feeder).solve()
            (util,) = (u for context, u in CffiApiUtil._ctx_to_util.items() if context not in earlier)
            made += [weakref.ref(model), weakref.ref(util)]
            del model, util
    gc.collect()
    assert [ref for ref in made if ref() is not None] == []
    assert mesa.Agent(own).unique_id == first.unique_id + 1, "models from before the block go on"
    assert mine.solve().voltages == pytest.approx(before.voltages, rel=1e-8), "and so do circuits"


def known() -> tuple[int, int]:
    """Models in Mesa's table and circuits in that of OpenDSS."""
    return len(mesa.Agent._ids), len(CffiApiUtil._ctx_to_util)


def test_runs_of_a_script_leave_nothing_but_results() -> None:
    before = known()
    cosim.run("ieee37", mode="uncoordinated", overrides={"clock.steps": 2, "clock.window_steps": 2})
    assert known() == before


def test_blocks_that_overlap_let_go_when_the_last_one_ends() -> None:
    before = known()
    with forgetting():
        with forgetting():
            model = mesa.Model(rng=1)
            first = mesa.Agent(model)
        assert mesa.Agent(model).unique_id == first.unique_id + 1
    assert known() == before
