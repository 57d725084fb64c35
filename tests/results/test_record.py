"""The record of a run as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosim.errors import InputError
from cosim.results.record import ErrorNote, Kpi, Record, run_id, versions


def test_a_record_comes_back_as_it_was(record: Record, tmp_path: Path) -> None:
    failed = replace(record, status="failed", error=ErrorNote("RunFailure", "the solver gave up"))
    for one in (record, failed):
        one.write(tmp_path)
        assert Record.read(tmp_path) == one


def test_format_and_version_come_first(record: Record) -> None:
    assert list(json.loads(record.to_json()).items())[:2] == [("format", "cosim-run"), ("schema_version", 1)]


def test_numbers_that_json_does_not_know_become_null_and_arrays_lists(record: Record) -> None:
    odd = replace(
        record,
        kpis={"a": Kpi(float("nan"), "USD"), "b": Kpi(float(np.float64(2.0)), "USD")},
        certificate={"sigma": np.array([1.0, np.inf]), "count": np.int64(3)},
    )
    data = json.loads(odd.to_json())
    assert data["kpis"] == {"a": {"value": None, "unit": "USD"}, "b": {"value": 2.0, "unit": "USD"}}
    assert data["certificate"] == {"sigma": [1.0, None], "count": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not the record of a run"),
        ({"schema_version": 2}, "another schema version"),
        ({"colour": "red"}, "incomplete"),
        ({"kpis": {"a": 1}}, "incomplete"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(
    record: Record, change: dict[str, object], message: str
) -> None:
    data = {**json.loads(record.to_json()), **change}
    with pytest.raises(InputError, match=message):
        Record.from_json(json.dumps(data))


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(InputError, match="not readable as JSON"):
        Record.from_json("{")


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run in this folder"):
        Record.read(tmp_path)


def test_the_run_id_depends_on_scenario_mode_and_seed_and_on_nothing_else() -> None:
    same = {run_id("text", "welfare", 1) for _ in range(2)}
    different = {
        run_id("text ", "welfare", 1),
        run_id("text", "centralized", 1),
        run_id("text", "welfare", 2),
    }
    assert len(same) == 1 and len(different) == 3 and not same & different


def test_versions_name_python_and_cosim() -> None:
    assert {"python", "cosim-grid", "numpy"} <= set(versions())
