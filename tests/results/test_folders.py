"""Result folders: whole or not there, and nothing of a user's is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosim.errors import InputError, RunFailure
from cosim.results.folders import ResultFolder, RunFolder, make_room
from cosim.results.record import Record
from cosim.results.tables import Layout, Tables

from .conftest import SCENARIO_TEXT


def test_a_finished_run_leaves_scenario_record_and_every_table(run_folder: Path) -> None:
    expected = {f"{name}.parquet" for name in (*Tables.names(), *Layout.names())}
    assert {p.name for p in run_folder.iterdir()} == expected | {"record.json", "scenario.yaml"}
    assert (run_folder / "scenario.yaml").read_text() == SCENARIO_TEXT


def test_nothing_is_at_the_wanted_place_before_the_run_is_complete(
    tmp_path: Path, record: Record, tables: Tables, layout: Layout
) -> None:
    with RunFolder(tmp_path / "deep" / "out", record, SCENARIO_TEXT) as folder:
        tables.write(folder.path)
        folder.save(record, layout)
        assert not folder.out.exists()
    assert folder.out.is_dir()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


def test_a_failed_run_leaves_its_record_and_no_table(
    tmp_path: Path, record: Record, tables: Tables, layout: Layout
) -> None:
    with pytest.raises(RunFailure), RunFolder(tmp_path / "out", record, SCENARIO_TEXT) as folder:
        tables.write(folder.path)
        folder.save(record, layout)
        raise RunFailure("the solver gave up")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["record.json", "scenario.yaml"]
    left = Record.read(tmp_path / "out")
    assert left.status == "failed"
    assert left.error is not None and left.error.message == "the solver gave up"


@pytest.mark.parametrize("error", [InputError("wrong"), KeyboardInterrupt()])
def test_wrong_input_and_an_interrupt_leave_nothing(
    tmp_path: Path, record: Record, error: BaseException
) -> None:
    with pytest.raises(type(error)), RunFolder(tmp_path / "out", record, SCENARIO_TEXT):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_writing_leaves_no_half_written_folder(
    tmp_path: Path, record: Record, tables: Tables, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(self: Layout, folder: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Layout, "write", full_disk)
    with pytest.raises(OSError), RunFolder(tmp_path / "out", record, SCENARIO_TEXT) as folder:
        tables.write(folder.path)
        folder.save(record, layout)
    assert Record.read(tmp_path / "out").status == "failed"
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_an_existing_folder_is_refused_before_any_work(run_folder: Path, record: Record) -> None:
    with pytest.raises(InputError, match="exists") as caught:
        RunFolder(run_folder, record, SCENARIO_TEXT)
    assert caught.value.allowed is not None and "--force" in caught.value.allowed
    assert [p.name for p in run_folder.parent.iterdir()] == [run_folder.name]


def test_force_replaces_earlier_results(run_folder: Path) -> None:
    with ResultFolder(run_folder, force=True) as folder:
        (folder.path / "comparison.csv").write_text("mode\n")
        assert (run_folder / "record.json").exists()
    assert [p.name for p in run_folder.iterdir()] == ["comparison.csv"]
    assert [p.name for p in run_folder.parent.iterdir()] == [run_folder.name]


def test_earlier_results_stay_if_their_replacement_fails(run_folder: Path) -> None:
    with pytest.raises(RuntimeError), ResultFolder(run_folder, force=True):
        raise RuntimeError
    assert Record.read(run_folder).status == "ok"


@pytest.mark.parametrize(
    "way", [lambda out: ResultFolder(out, force=True), lambda out: make_room(out, force=True)]
)
def test_force_never_removes_a_folder_that_holds_no_results(tmp_path: Path, way: object) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert callable(way)
    with pytest.raises(InputError, match="left alone"):
        way(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="not a folder"):
        ResultFolder(tmp_path / "out", force=True)


def test_a_folder_that_cannot_be_created_is_wrong_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(InputError, match="cannot be created"):
        ResultFolder(tmp_path / "file" / "out")


def test_a_run_folder_without_results_is_a_mistake_in_the_code(tmp_path: Path, record: Record) -> None:
    with pytest.raises(RuntimeError, match="save"), RunFolder(tmp_path / "out", record, SCENARIO_TEXT):
        pass
    assert list(tmp_path.iterdir()) == []
