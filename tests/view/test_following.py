"""Following what is under way: progress, rounds and prices of a run, runs of a sweep, and how either ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import cosim
from cosim.errors import RunFailure
from cosim.results.durable import is_held
from cosim.results.folders import ResultFolder
from cosim.results.pages.pair import differences
from cosim.results.tables import read_table
from cosim.results.underway.reading import Following, underway_at, underway_in
from cosim.results.underway.writing import UNDERWAY_FILE, Underway
from cosim.sweep.experiment import check_experiment
from cosim.sweep.storage.note import RunNote
from cosim.sweep.storage.store import LOCK_FILE, Store
from cosim.view.catalogue import Entry
from cosim.view.server import Viewer
from tests.results.test_pages import data_in

KILLED = '''
import sys, time
from pathlib import Path
from cosim.results.folders import ResultFolder
from cosim.results.underway.writing import Underway

with ResultFolder(sys.argv[1]) as folder, Underway(folder.path, "run", "tiny", mode="welfare") as watch:
    watch.also(None)(3, 24, "step 3: <b>round 7")
    print("ready", flush=True)
    time.sleep(60)
'''


def asked(viewer: Viewer, address: str) -> str:
    return viewer.answer(f"/{viewer.secret}/{address}").content.decode()


def entry(viewer: Viewer, address: str) -> Entry | None:
    return next((e for e in viewer.catalogue.entries() if e.address == address), None)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[Following, str, str]], Path]:
    """What is told of a run, of its comparison and in the list at each word of progress; and where the results are."""
    root = tmp_path_factory.mktemp("followed")
    viewer, seen = Viewer(root), []

    def look(done: int, total: int, text: str) -> None:
        whole = underway_at(root / "both")
        assert whole is not None
        for run in underway_in(whole.part):
            if run.place.name == "second":
                listed = entry(viewer, "both")
                assert listed is not None
                seen.append((run, asked(viewer, "live/both"), listed.state))

    modes = {"first": "uncoordinated", "second": "decentralized"}
    cosim.compare("ieee37", modes, overrides={"clock.steps": 1}, out=root / "both", figures=False, progress=look)
    return seen, root


def test_rounds_are_told_with_their_residuals(followed: tuple[list[tuple[Following, str, str]], Path]) -> None:
    seen, root = followed
    rounds = read_table("rounds", root / "both" / "second" / "rounds.parquet").set_index("round")
    told = [run.lines[-1] for run, _, _ in seen if run.now("round") is not None]
    assert len(told) == len(rounds) - 1  # the last has no next at whose beginning it would be told
    for now in told:
        made = rounds.loc[now["round"]]
        assert (now["price_residual"], now["power_residual_kw"]) == (made["price_residual"], made["power_residual_kw"])
        assert now["low"] <= now["mean"] <= now["high"]


def test_the_last_prices_and_the_cost_are_those_of_the_tables(
    followed: tuple[list[tuple[Following, str, str]], Path]
) -> None:
    seen, root = followed
    prices = read_table("prices", root / "both" / "second" / "prices.parquet")["dlmp_p"]
    cost = read_table("steps", root / "both" / "second" / "steps.parquet")["social_cost_usd"].sum()
    last = seen[-1][0]
    assert [last.now(n) for n in ("low", "mean", "high")] == pytest.approx(
        [prices.min(), prices.mean(), prices.max()], abs=1e-4
    )
    assert (last.now("done"), last.now("cost_usd")) == (1, pytest.approx(cost))


def test_modes_of_a_comparison_are_followed_one_by_one(followed: tuple[list[tuple[Following, str, str]], Path]) -> None:
    seen, _ = followed
    run, page, state = seen[0]
    assert run.alive and state == "under way" and "view.js" in page
    assert dict(data_in_rows(page)) == {"first": "has ended", "second": "under way: step 0: linearising"}


def test_what_has_ended_is_told_so_and_leaves_no_progress(
    followed: tuple[list[tuple[Following, str, str]], Path]
) -> None:
    _, root = followed
    over = asked(Viewer(root), "live/both")
    assert "its results are there" in over and "../at/both/page.html" in over and "view.js" not in over
    assert not list(root.rglob(UNDERWAY_FILE))


def data_in_rows(page: str) -> list[tuple[str, str]]:
    body = page.split("<tbody>", 1)[1].split("</tbody>", 1)[0]
    return [tuple(part.split("</td>")[0] for part in row.split("<td>")[1:3]) for row in body.split("<tr>")[1:]]  # type: ignore[misc]


def test_a_run_that_is_killed_is_shown_as_killed(tmp_path: Path) -> None:
    viewer = Viewer(tmp_path)
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "run")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        before = entry(viewer, "run")
        process.send_signal(signal.SIGKILL)
    after, page = entry(viewer, "run"), asked(viewer, "live/run")
    assert before is not None and before.state == "under way" and after is not None and after.state == "killed"
    assert before.about == "welfare: 12 %, step 3: <b>round 7"
    assert "Its process is gone" in page and "&lt;b&gt;round 7" in page and "view.js" not in page


def test_a_run_that_fails_is_shown_with_its_reason(tmp_path: Path) -> None:
    def stop(done: int, total: int, text: str) -> None:
        raise RuntimeError("no more")

    with pytest.raises(RunFailure):
        cosim.run("ieee37", mode="uncoordinated", overrides={"clock.steps": 1}, out=tmp_path / "run", progress=stop)
    found = entry(Viewer(tmp_path), "run")
    assert found is not None and found.state == "failed" and "no more" in found.reason
    assert not (tmp_path / "run" / UNDERWAY_FILE).exists()


def test_a_run_that_is_to_replace_earlier_results_is_followed(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder / "one", tmp_path / "run")
    viewer = Viewer(tmp_path)
    with ResultFolder(tmp_path / "run", force=True) as place, Underway(place.path, "run", "tiny", mode="welfare"):
        states = [e.state for e in viewer.catalogue.entries()]
        page = asked(viewer, "live/run")
        (place.path / "record.json").write_text("{}")
    assert states == ["under way", "ok"] and "Under way: starting" in page


def test_what_never_was_is_told_so(tmp_path: Path) -> None:
    assert "left no results" in asked(Viewer(tmp_path), "live/run")


def test_the_last_line_is_the_present_however_often_it_is_told(tmp_path: Path) -> None:
    with Underway(tmp_path, "run", "tiny") as watch:
        tell = watch.also(None)
        for number in range(1000):
            tell(number, 1000, "x" * (number * 7 % 50))
            lines = (tmp_path / UNDERWAY_FILE).read_text().splitlines()
            assert json.loads(lines[-1])["done"] == number
        assert len(lines) < 1000
    assert not (tmp_path / UNDERWAY_FILE).exists()


def test_lines_are_kept_at_least_a_quarter_of_a_second_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("cosim.results.underway.writing.time.monotonic", lambda: now[0])
    with Underway(tmp_path, "run", "tiny") as watch:
        for number in range(500):
            now[0] = 0.01 * number
            watch.say(str(number))
        lines = [json.loads(line) for line in (tmp_path / UNDERWAY_FILE).read_text().splitlines()[1:]]
    apart = [b["s"] - a["s"] for a, b in zip(lines[:-2], lines[1:-1], strict=True)]
    assert len(lines) == 20 and min(apart) >= 0.24


def test_a_half_written_line_is_left_out(tmp_path: Path) -> None:
    part = tmp_path / ".run.0123456789ab.part"
    part.mkdir()
    head = '{"format": "cosim-underway", "kind": "run", "name": "x"}'
    (part / UNDERWAY_FILE).write_text(f'{head}\n{{"done": 1, "total": 2, "doing": "a"}}\n{{"done": 2, "to')
    found = underway_at(tmp_path / "run")
    assert found is not None and found.now("done") == 1 and found.alive is False


def test_a_sweep_is_followed_while_it_is_at_work(tmp_path: Path, folder: Path) -> None:
    viewer, seen = Viewer(tmp_path), []

    def look(done: int, failed: int, total: int, text: str) -> None:
        if done == 2:
            seen.append((entry(viewer, "swept"), asked(viewer, "live/swept")))

    sys.path.insert(0, str(folder.parent))
    try:
        experiment = check_experiment({
            "name": "limits", "scenario": str(folder.parent / "mine.yaml"), "measure": "view_measure:measured",
            "factors": {"network.v_min_pu": [0.92, 0.93, 0.94]},
        })  # fmt: skip
        cosim.run_sweep(experiment, tmp_path / "swept", engine="serial", figures=False, progress=look)
    finally:
        sys.path.remove(str(folder.parent))
    [(listed, page)] = seen
    assert listed is not None and (listed.state, listed.about) == ("under way", "2 of 3 runs done, 1 failed")
    assert "At work: 2 of 3 runs are done." in page and "the solver gave up" in page and "view.js" in page
    assert "Not at work. 3 of 3 runs are done." in asked(viewer, "live/swept")


def test_a_sweep_that_was_killed_is_incomplete(tmp_path: Path, folder: Path) -> None:
    shutil.copytree(folder / "swept", tmp_path / "swept")
    run = next((tmp_path / "swept" / "runs").glob("run=*"))
    part = run.rename(run.parent / f".{run.name}.0a0b0c0d.2.part")
    lines = [{"format": "cosim-underway"}, {"done": 1, "total": 4, "doing": "step 1: round 9"}]
    (part / UNDERWAY_FILE).write_text("\n".join(map(json.dumps, lines)))
    viewer = Viewer(tmp_path)
    found = entry(viewer, "swept")
    assert found is not None and (found.state, found.about[:11]) == ("incomplete", "2 of 3 runs")
    page = asked(viewer, "live/swept")
    assert "--resume does the other 1" in page and "<td>2</td><td>25 %, step 1: round 9</td>" in page


def test_what_a_run_of_a_sweep_has_told_is_no_file_of_it(tmp_path: Path) -> None:
    """A worker that dies may leave it."""
    store = Store(tmp_path)
    store.open()
    part = store.part("r0123456789abcde", 1)
    part.mkdir()
    for name in (UNDERWAY_FILE, "log.txt"):
        (part / name).write_text("x")
    store.complete(part, RunNote("r0123456789abcde", "failed"))
    store.publish(part, "r0123456789abcde")
    note = store.note("r0123456789abcde")
    assert note is not None and list(note.files) == ["log.txt"]


def test_looking_at_a_sweep_does_not_keep_one_from_starting(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    store = Store(tmp_path)
    store.open()
    with (tmp_path / LOCK_FILE).open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        threading.Timer(0.03, fcntl.flock, (stream, fcntl.LOCK_UN)).start()
        with store.locked():
            assert is_held(tmp_path / LOCK_FILE) is True
        time.sleep(0.05)
    assert is_held(tmp_path / LOCK_FILE) is False


def test_keys_that_differ_are_told_by_the_names_of_their_entries() -> None:
    one = {"network": {"v_min_pu": 0.95}, "sites": [{"name": "a", "p_kw": 1}, {"name": "b", "p_kw": 2}]}
    other = {"network": {"v_min_pu": 0.94}, "sites": [{"name": "b", "p_kw": 3}, {"name": "a", "p_kw": 1}], "x": []}
    assert differences(one, other) == [
        ("network.v_min_pu", "0.95", "0.94"), ("sites.b.p_kw", "2", "3"), ("x", "–", "[]"),
    ]  # fmt: skip
    assert differences(one, one) == []


def test_progress_is_drawn_on_the_page_of_a_run_under_way(tmp_path: Path) -> None:
    part = tmp_path / ".run.0123456789ab.part"
    part.mkdir()
    lines = [{"format": "cosim-underway", "kind": "run", "name": "x", "mode": "decentralized"}]
    lines += [{"s": s, "done": s, "total": 9, "doing": "", "round": 1 + s % 4, "price_residual": 10.0 ** -(s % 4),
               "power_residual_kw": 0.0, "low": 1.0, "mean": 2.0, "high": 3.0 + s} for s in range(7)]  # fmt: skip
    (part / UNDERWAY_FILE).write_text("\n".join(map(json.dumps, lines)))
    charts = data_in(asked(Viewer(tmp_path), "live/run"))["charts"]
    done, prices, rounds = (chart["choices"][0]["traces"] for chart in charts)
    assert done[0]["y"] == list(range(7)) and prices[2]["y"] == [3.0 + s for s in range(7)]
    assert rounds[0]["x"] == [1, 2, 3] and rounds[0]["y"] == [1.0, 0.1, 0.01]  # of the last negotiation alone
