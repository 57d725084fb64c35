"""Result folders: whole or not there, and nothing of a user's is overwritten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cosim.errors import InputError, RunFailure
from cosim.results.folders import ResultFolder, RunFolder
from cosim.results.record import Record
from cosim.results.tables import Layout, Tables

from .conftest import SCENARIO_TEXT


def test_a_finished_run_leaves_scenario_record_and_every_table(run_folder: Path) -> None:
    without = ("feeders", "envelopes", "deviations")
    expected = {f"{name}.parquet" for name in (*Tables.names(), *Layout.names()) if name not in without}
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


def test_force_never_removes_a_folder_that_holds_no_results(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="left alone"):
        ResultFolder(tmp_path, force=True)
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


# -- what a process that was killed leaves ----------------------------------------------------------------------

_KILLED = """
import os, signal, sys
from pathlib import Path
from cosim.results import durable
from cosim.results.folders import ResultFolder
out, when = Path(sys.argv[1]), sys.argv[2]
folder = ResultFolder(out, force=True)
(folder.path / "comparison.csv").write_text("mode\\nnew\\n")
if when == "between the names":
    renamed = os.rename
    durable.os.rename = lambda a, b: (renamed(a, b), os.kill(os.getpid(), signal.SIGKILL))
    folder.publish()
if when == "held":
    print("held", flush=True)
    sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(out: Path, when: str) -> None:
    """A process that is killed while it fills a folder of results."""
    done = subprocess.run([sys.executable, "-c", _KILLED, str(out), when], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def beside(out: Path) -> list[str]:
    return sorted(p.name for p in out.parent.iterdir() if p != out)


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    out = tmp_path / "out[1]"
    killed(out, "at work")
    assert len(beside(out)) == 1 and not out.exists()
    with ResultFolder(out) as folder:
        (folder.path / "comparison.csv").write_text("mode\n")
    assert beside(out) == []


def test_earlier_results_come_back_if_the_process_that_replaced_them_was_killed(run_folder: Path) -> None:
    before = sorted(p.name for p in run_folder.iterdir())
    killed(run_folder, "between the names")
    assert not run_folder.exists() and len(beside(run_folder)) == 2
    with pytest.raises(InputError, match="exists"):
        ResultFolder(run_folder)
    assert sorted(p.name for p in run_folder.iterdir()) == before and beside(run_folder) == []


def test_what_a_living_process_holds_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", _KILLED, str(out), "held"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living:
        assert living.stdout is not None and living.stdout.readline() == "held\n"
        theirs = beside(out)
        with ResultFolder(out) as folder:
            (folder.path / "comparison.csv").write_text("mode\n")
        assert beside(out) == theirs and (tmp_path / theirs[0] / "comparison.csv").is_file()
        living.kill()
    with ResultFolder(out, force=True):
        pass
    assert beside(out) == []


def test_folders_of_others_with_a_similar_name_are_left_alone(tmp_path: Path) -> None:
    for name in (".out.notes.part", ".out.0123456789ab.partly", ".outer.0123456789ab.part", "out.0123456789ab.part"):
        (tmp_path / name).mkdir()
    before = beside(tmp_path / "out")
    with ResultFolder(tmp_path / "out"):
        pass
    assert beside(tmp_path / "out") == before


def test_files_are_on_the_disk_before_their_folder_has_its_name(
    tmp_path: Path, record: Record, tables: Tables, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of calls to the system: every file, then the folder, then the name, then the folder around it."""
    done: list[tuple[str, str]] = []
    flushed, renamed = os.fsync, os.rename

    def flush(descriptor: int) -> None:
        done.append(("flush", os.readlink(f"/proc/self/fd/{descriptor}")))
        flushed(descriptor)

    def rename(old: Path, new: Path) -> None:
        done.append(("rename", str(old)))
        renamed(old, new)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("open files cannot be named here")
    with RunFolder(tmp_path / "out", record, SCENARIO_TEXT) as folder:
        tables.write(folder.path)
        folder.save(record, layout)
        part = str(folder.path)
        written = {("flush", str(p)) for p in folder.path.iterdir()}
        monkeypatch.setattr(os, "fsync", flush)
        monkeypatch.setattr(os, "rename", rename)
    assert set(done[: len(written)]) == written
    assert done[len(written) :] == [("flush", part), ("rename", part), ("flush", str(tmp_path))]
