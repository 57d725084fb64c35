"""``cosim feeder``: what it leaves, what it prints, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cosim.cli.main import app
from cosim.grid.feeder.tables import read_feeder
from tests.grid.dss_circuits import MOVING_RING

SCRIPT = """clear
new circuit.tiny basekv=12.47 bus1=s r1=0 x1=1e-4 r0=0 x0=1e-4
new line.x bus1=s bus2=e r1=0.3 r0=0.6 x1=0.6 x0=1.2 length=2 units=mi
new load.a bus1=e.1 phases=1 kv=7.2 kw=100 kvar=40
new load.odd bus1=e.1.4 phases=1 kv=7.2 kw=1 kvar=0
set voltagebases=[12.47]
calcvoltagebases
solve
"""
LOOPED = SCRIPT.replace("new load.a", "new line.on bus1=e bus2=f\nnew line.back bus1=f bus2=s\nnew load.a")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["feeder", *arguments])


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.dss"
    file.write_text(SCRIPT)
    return file


def test_import_leaves_tables_that_can_be_read_and_says_what_is_missing(script: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    done = invoke("import", str(script), "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "load.odd (dropped)" in done.output
    assert "pu, at bus" in done.output
    assert read_feeder(out).name == "tiny"
    assert "load.odd" in (out / "not_represented.csv").read_text()


def test_wrong_input_leaves_nothing_and_code_two(script: Path, tmp_path: Path) -> None:
    script.write_text(LOOPED)
    before = sorted(tmp_path.rglob("*"))
    done = invoke("import", str(script), "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert "loop" in done.output and "line.on" in done.output and "dss: FILE" in done.output
    assert sorted(tmp_path.rglob("*")) == before


def test_tables_that_are_not_the_original_leave_nothing_and_code_two(script: Path, tmp_path: Path) -> None:
    script.write_text(SCRIPT.replace("new load.odd", "new isource.far bus1=e amps=400\nnew load.odd"))
    done = invoke("import", str(script), "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert "most at bus e" in done.output and "isource.far" in done.output
    assert not (tmp_path / "out").exists()
    done = invoke("import", str(script), "--out", str(tmp_path / "out"), "--most-apart-pu", "1")
    assert done.exit_code == 0, done.output


def test_a_wider_folder_can_be_named(script: Path, tmp_path: Path) -> None:
    deep = tmp_path / "deep" / "master.dss"
    deep.parent.mkdir()
    deep.write_text("redirect ../tiny.dss\n")
    done = invoke("import", str(deep), "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert "outside" in done.output
    done = invoke("import", str(deep), "--out", str(tmp_path / "out"), "--inside", str(tmp_path))
    assert done.exit_code == 0, done.output


def test_an_existing_folder_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    done = invoke("import", str(tmp_path / "nothing.dss"), "--out", str(tmp_path))
    assert done.exit_code == 2
    assert "the folder exists" in done.output


def test_what_is_missing_is_told_in_groups_and_what_is_out_of_service_apart(script: Path, tmp_path: Path) -> None:
    odd = "".join(f"new load.odd{k} bus1=e.1.4 phases=1 kv=7.2 kw={k} kvar=0\n" for k in range(2, 30))
    off = "".join(f"new line.off{k} bus1=e bus2=f enabled=no\n" for k in range(40))
    script.write_text(SCRIPT.replace("set voltage", f"{odd}{off}new monitor.m element=line.x\nset voltage"))
    done = invoke("import", str(script), "--out", str(tmp_path / "out"), "--most-apart-pu", "1")
    assert done.exit_code == 0, done.output
    said = done.output.splitlines()
    assert "Not represented as they were: 29 dropped, 1 control" in said
    assert said.index(next(x for x in said if "load.odd and 28 more like it (dropped)" in x)) < said.index(
        next(x for x in said if "monitor.m (control)" in x)
    )
    assert sum("line.off" in x for x in said) == 1
    assert "Out of service in the script, so left out: 40 (line.off0, line.off1," in done.output.replace("\n", " ")


def test_show_takes_a_script_whatever_its_circuit(script: Path, tmp_path: Path) -> None:
    script.write_text(LOOPED)
    done = invoke("show", str(script), "--out", str(tmp_path / "map.png"))
    assert done.exit_code == 0, done.output
    assert "3 line" in done.output and "voltage, AC" in done.output and " move" not in done.output
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_show_says_what_a_circuit_s_own_controls_move(tmp_path: Path) -> None:
    (tmp_path / "ring.dss").write_text(MOVING_RING)
    done = invoke("show", str(tmp_path / "ring.dss"), "--out", str(tmp_path / "map.png"))
    assert "transformer.sub abc" in done.output and "capacitor.cap 1 in service" in done.output


@pytest.mark.parametrize("name", ["ieee13", "ieee37", "ieee123"])
def test_show_draws_a_map_and_prints_a_summary(name: str, tmp_path: Path) -> None:
    file = tmp_path / "maps" / "map.png"
    done = invoke("show", name, "--out", str(file))
    assert done.exit_code == 0, done.output
    assert file.read_bytes().startswith(b"\x89PNG")
    assert "regulators" in done.output and "voltage, AC" in done.output


def test_show_of_an_unknown_feeder_names_the_nearest() -> None:
    done = invoke("show", "ieee31")
    assert done.exit_code == 2
    assert "did you mean" in done.output
