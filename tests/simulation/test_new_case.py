"""A scenario folder to start from: it runs as it stands, and is there as a whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import cosim
from cosim.cli.main import app
from cosim.errors import InputError
from cosim.grid.feeder.tables import feeder_folder
from cosim.simulation.new_case import new_case

CIRCUIT = """clear
new circuit.small bus1=source basekv=12.47 pu=1.02 mvasc3=200 mvasc1=210
redirect lines.dss
new load.l1 bus1=b phases=3 kv=12.47 kw=900 kvar=300
set voltagebases=[12.47]
calcvoltagebases
solve
"""
LINES = """new line.one bus1=source bus2=b length=2 units=km r1=0.2 x1=0.4 r0=0.5 x0=1.2
new line.loop bus1=source bus2=b length=3 units=km r1=0.2 x1=0.4 r0=0.5 x0=1.2
"""


def feeder_named(kind: str, place: Path) -> str:
    """A feeder of each kind, as the command is told of it."""
    if kind == "tables":
        return str(shutil.copytree(feeder_folder("ieee13"), place / "tables"))
    if kind == "script":
        (place / "net").mkdir()
        (place / "net" / "Master.dss").write_text(CIRCUIT)
        (place / "net" / "lines.dss").write_text(LINES)
        return str(place / "net" / "Master.dss")
    return kind


@pytest.mark.parametrize("kind", [pytest.param("ieee13", marks=pytest.mark.slow), "tables", "script"])
def test_a_new_folder_runs_without_what_it_was_made_from(tmp_path: Path, kind: str) -> None:
    originals = tmp_path / "originals"
    originals.mkdir()
    files = new_case(tmp_path / "mine", feeder_named(kind, originals))
    shutil.rmtree(originals)
    result = cosim.run(files[0], mode="uncoordinated", overrides={"clock.steps": 1, "clock.window_steps": 1})
    assert result.record.scenario == "mine" and result.kpis["energy_mwh"]


def test_every_section_of_a_new_scenario_is_commented(tmp_path: Path) -> None:
    (path, *_) = new_case(tmp_path / "mine", "ieee13")
    text = path.read_text()
    sections = text.split("\n\n")[1:]
    assert {*yaml.safe_load(text)} >= {"clock", "network", "market", "datacenters", "workload", "aggregators"}
    assert [s for s in sections if "#" not in s] == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    done = CliRunner().invoke(app, ["new", str(tmp_path / "mine")])
    assert done.exit_code == 2 and "exists" in done.output and list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize(("name", "feeder", "key"), [
    ("mine", "no_feeder", "--feeder"), ("mine", "nowhere.dss", "--feeder"), ("my case", "ieee13", "NAME"),
    ("mine", "broken.dss", "line 2"),
])  # fmt: skip
def test_what_cannot_be_used_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, feeder: str, key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.dss").write_text("clear\nnew load\n")
    with pytest.raises(InputError) as refused:
        new_case(name, feeder)
    assert refused.value.key == key and [p.name for p in tmp_path.iterdir()] == ["broken.dss"]
