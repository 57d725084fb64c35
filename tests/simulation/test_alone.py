"""Broken voltage limits that are there without any data center are told as such."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from cosim.grid.feeder.tables import read_feeder
from cosim.grid.linear.branch_flows import ac_flows
from cosim.grid.opendss.circuit import AcCircuit
from cosim.simulation.runner import run, validate

LOW = {"clock.steps": 2, "clock.window_steps": 2, "network.source_pu": 0.96, "network.load_scale": {"constant": 1.0}}


def test_those_of_the_feeder_alone_are_counted() -> None:
    result = run("ieee37", overrides=LOW, mode="uncoordinated")
    notes = [note for note in result.notes if "without any data center" in note]
    assert len(notes) == 1
    found = re.match(r"(all|\d+) of the (\d+) AC voltages", notes[0])
    assert found is not None
    alone = AcCircuit(replace(read_feeder("ieee37"), source_pu=0.96)).solve(1.0)
    below = [v for v in alone.voltages.values() if v < 0.95 - 1e-4]
    broken = int(found[2])
    assert broken == result.kpis["violations_ac"]
    also = broken if found[1] == "all" else int(found[1])
    assert also == 2 * len(below) > 0
    assert f"{min(below):.4f} pu" in notes[0]


def test_nothing_is_said_where_the_feeder_alone_is_within_its_limits() -> None:
    result = run("ieee37", overrides={"clock.steps": 1, "clock.window_steps": 1}, mode="uncoordinated")
    assert not any("without any data center" in note for note in result.notes)


def test_validation_names_ratings_that_the_feeder_breaks_alone() -> None:
    rated = {**LOW, "network.branch_rating_kva": {"701-702": 2000, "711-740": 3000}}
    (told,) = (text for what, text in validate("ieee37", rated).lines if what == "base case, limits")
    circuit = AcCircuit(replace(read_feeder("ieee37"), source_pu=0.96))
    circuit.solve(1.0)
    flows = ac_flows(circuit)
    beyond = [f"rating {b} {x}" for (b, x), p, q in zip(flows.labels, flows.p_kw, flows.q_kvar, strict=True)
              if b == "701-702" and np.hypot(p, q) > 2000 / 3 * 1.001]  # fmt: skip
    assert beyond and told.endswith(": " + ", ".join(beyond))
    assert not any(what == "base case, limits" for what, _ in validate("ieee37", LOW).lines)


def test_validation_counts_them() -> None:
    (text,) = (text for what, text in validate("ieee37", LOW).lines if what.startswith("base case"))
    assert re.search(r"\d+ of 114 outside the limits", text)
