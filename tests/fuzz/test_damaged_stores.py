"""Damaged stores: what was truncated, emptied, lost, swapped or changed is repaired or named, never used in silence."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import cosim
from cosim.cli.main import app
from cosim.errors import InputError

SEED = 18
LIMITS = [0.91, 0.92, 0.93, 0.94]
MEASURE = '''
import pandas as pd

from cosim.errors import RunFailure
from cosim.sweep.worker import Outcome


def quick(scenario, path):
    """Two figures and a table; the first limit fails."""
    level = scenario.network.v_min_pu
    if level == 0.91:
        raise RunFailure("the solver gave up")
    frame = pd.DataFrame({"row": range(30), "value": [level * i for i in range(30)]})
    return Outcome({"double": 2 * level, "half": level / 2}, {"pair": frame})
'''
Spoil = Callable[[Path, random.Random], None]


def truncated(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(1, len(data))])


def lengthened(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randrange(1, 50)))


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def missing(path: Path, rng: random.Random) -> None:
    path.unlink()


def flipped(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def null(path: Path, rng: random.Random) -> None:
    path.write_text("null")


def wrong_types(path: Path, rng: random.Random) -> None:
    path.write_text('{"format": "cosim-sweep", "store_version": 2, "runs": [null, 3], "key": [], "files": "all"}')


def nested(path: Path, rng: random.Random) -> None:
    path.write_text("[" * 20_000)


def binary(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(2000))


def zeros(path: Path, rng: random.Random) -> None:
    """What some file systems leave of a file that was not flushed."""
    path.write_bytes(bytes(path.stat().st_size))


def folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def another_runs(path: Path, rng: random.Random) -> None:
    """The file of another run in the place of this one's."""
    others = [p for p in sorted(path.parent.parent.glob(f"*/{path.name}")) if p != path]
    shutil.copy(rng.choice(others), path)


def another_runs_folder(path: Path, rng: random.Random) -> None:
    """Two runs in each other's place."""
    one, two = path.parent, next(p for p in sorted(path.parent.parent.iterdir()) if p != path.parent)
    aside = one.parent.parent / "aside"
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


def no_folder(path: Path, rng: random.Random) -> None:
    """A file in the place of a run."""
    shutil.rmtree(path.parent)
    path.parent.write_text("a file")


def foreign(path: Path, rng: random.Random) -> None:
    path.with_name("foreign.parquet").write_bytes(rng.randbytes(100))


def foreign_folder(path: Path, rng: random.Random) -> None:
    (path.parent.parent / "notes").mkdir()


CASES: list[tuple[str, Spoil]] = [
    *(("run.json", s) for s in (truncated, empty, missing, flipped, null, wrong_types, nested, binary, zeros, folder)),
    *(("run.json", s) for s in (another_runs, another_runs_folder, no_folder, foreign, foreign_folder)),
    *(("pair.parquet", s) for s in (truncated, lengthened, empty, missing, flipped, binary, zeros, folder)),
    *(("pair.parquet", s) for s in (another_runs, flipped)),
    *(("log.txt", s) for s in (truncated, missing, flipped)),
    *(("plan.json", s) for s in (truncated, empty, missing, flipped, null, wrong_types, binary)),
    *(("runs.csv", s) for s in (truncated, missing, flipped, binary)),
    *(("times.csv", s) for s in (empty, binary)),
    *(("report.html", s) for s in (truncated, missing, flipped)),
    *(("outputs.json", s) for s in (empty, null, missing)),
    *(("figures/*.png", s) for s in (flipped,)),
]
IN_A_RUN = ("run.json", "pair.parquet", "log.txt")


@dataclass(frozen=True)
class Whole:
    """A finished sweep, and what it said before anything was damaged."""

    place: Path
    runs: pd.DataFrame
    pair: pd.DataFrame
    files: dict[str, bytes]


def files_of(out: Path) -> dict[str, bytes]:
    """What must have the same bytes after a repair."""
    found = [*out.glob("runs/*/*.parquet"), out / "plan.json", out / "runs.csv"]
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(found)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    place = tmp_path_factory.mktemp("stores")
    (place / "store_measure.py").write_text(MEASURE)
    (place / "mine.yaml").write_text("base: ieee37\nname: mine\nmode: uncoordinated\nclock: {steps: 1}\n")
    (place / "e.yaml").write_text(
        f"name: stores\nscenario: mine.yaml\nmeasure: 'store_measure:quick'\nfactors: {{network.v_min_pu: {LIMITS}}}\n"
    )
    sys.path.insert(0, str(place))
    sys.modules.pop("store_measure", None)
    found = cosim.run_sweep(place / "e.yaml", place / "whole", engine="serial")
    yield Whole(place, found.runs, found.pair, files_of(found.root))
    sys.path.remove(str(place))
    sys.modules.pop("store_measure", None)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(n, id=f"{n}-{target}-{spoil.__name__}", marks=[pytest.mark.slow] * (n % 3 > 0))
        for n, (target, spoil) in enumerate(CASES)
    ],
)
def test_damage_is_repaired_or_named_and_never_used_in_silence(whole: Whole, tmp_path: Path, number: int) -> None:
    rng = random.Random(f"{SEED}-{number}")
    target, spoil = CASES[number]
    out = tmp_path / "out"
    shutil.copytree(whole.place / "whole", out)
    pattern = f"runs/*/{target}" if target in IN_A_RUN else target
    spoil(rng.choice(sorted(out.glob(pattern))), rng)
    read_as_it_was_or_refused(out, whole)
    of_report = target not in IN_A_RUN and not target.endswith((".csv", "plan.json"))
    found = cosim.run_sweep(whole.place / "e.yaml", out, engine="serial", resume=True, analyse=of_report)
    assert found.repairs and all(len(text) < 2000 for text in found.repairs), "it is said"
    named = "runs/" if spoil in (foreign, foreign_folder) else "run r" if target in IN_A_RUN else target.split("*")[0]
    assert any(named in text for text in found.repairs), found.repairs
    log = (out / "sweep.log").read_text()
    assert all(text in log for text in found.repairs)
    strange = {"foreign.parquet"} if spoil is foreign else set()
    assert {k: v for k, v in files_of(out).items() if Path(k).name not in strange} == whole.files
    page = (out / "report.html").read_text()
    assert page.lstrip().startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")
    assert found.pair.equals(whole.pair)
    settled = cosim.run_sweep(whole.place / "e.yaml", out, engine="serial", resume=True, analyse=False)
    assert bool(settled.repairs) == (spoil in (foreign, foreign_folder)), settled.repairs


def read_as_it_was_or_refused(out: Path, whole: Whole) -> None:
    """Reading a damaged sweep tells nothing that was not so: a run is as it was, or pending with what is wrong."""
    try:
        found = cosim.read_sweep(out)
    except InputError as error:
        assert error.file is not None and error.file.name == "plan.json"
        return
    pending = found.runs["status"] == "pending"
    assert found.runs.loc[pending, "error"].str.startswith("damaged: ").all()
    pd.testing.assert_frame_equal(found.runs[~pending], whole.runs[~pending])
    try:
        pair = found.pair
    except (InputError, AttributeError) as error:
        assert "cannot be read" in str(error) or pending.any()
        return
    rows = whole.pair[whole.pair["index"].isin(found.ok["index"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(pair, rows)


def test_an_undamaged_store_needs_no_repair(whole: Whole, tmp_path: Path) -> None:
    shutil.copytree(whole.place / "whole", tmp_path / "out")
    found = cosim.run_sweep(whole.place / "e.yaml", tmp_path / "out", engine="serial", resume=True)
    assert found.repairs == () and files_of(tmp_path / "out") == whole.files


def test_the_command_says_what_it_repairs(whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole.place / "whole", out)
    spoiled = sorted(out.glob("runs/*/pair.parquet"))[0]
    spoiled.write_bytes(b"")
    arguments: list[Any] = ["sweep", str(whole.place / "e.yaml"), "--out", str(out), "--engine", "serial", "--resume"]
    done = CliRunner().invoke(app, arguments, env={"TERM": "dumb", "COLUMNS": "200"})
    assert done.exit_code == 1 and "1 of 4 runs failed" in done.stderr, "one run fails by itself"
    key = spoiled.parent.name.removeprefix("run=")
    assert f"Note: run {key}: pair.parquet has 0 bytes" in done.stderr
    assert ["damaged", "1,", "to", "be", "run", "again"] in [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("spoil", [null, binary, wrong_types, nested, empty, folder])
def test_the_report_of_a_sweep_with_a_spoiled_plan_is_refused(whole: Whole, tmp_path: Path, spoil: Spoil) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole.place / "whole", out)
    spoil(out / "plan.json", random.Random(SEED))
    done = CliRunner().invoke(app, ["report", str(out)])
    assert done.exit_code == 2 and len(done.stderr) < 2000, done.output
    assert isinstance(done.exception, SystemExit), done.exception
