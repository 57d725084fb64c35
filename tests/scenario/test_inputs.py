"""What a run is made from is kept beside its results: copies, hashes, code of a user's own, the commit."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import InputError
from cosim.scenario.inputs import keeping
from cosim.scenario.inputs.code import own_sources
from cosim.scenario.inputs.keeping import keep_inputs
from cosim.scenario.inputs.manifest import KeptFile, KeptInput, Manifest, check_inputs, check_named, read_manifest
from cosim.scenario.inputs.named import InputFiles, NamedInput, named_inputs
from cosim.scenario.inputs.surroundings import commit_of


def kept(tmp_path: Path, *named: NamedInput, code: tuple[str, ...] = (), data: Any = None) -> Manifest:
    """Keep inputs of a scenario in ``tmp_path/case``."""
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    return keep_inputs(out, tmp_path / "case" / "mine.yaml", {"scenario.yaml": data or {}}, named, code)


@pytest.fixture
def case(tmp_path: Path) -> Path:
    folder = tmp_path / "case"
    folder.mkdir()
    (folder / "mine.yaml").write_text("name: mine\n")
    (folder / "prices.csv").write_text("usd_per_mwh\n40\n")
    (tmp_path / "outside.csv").write_text("usd_per_mwh\n50\n")
    return folder


def test_a_table_keeps_its_name_and_one_from_elsewhere_is_renamed_in_the_scenario(tmp_path: Path, case: Path) -> None:
    names = ["prices.csv", "../outside.csv", str(tmp_path / "outside.csv")]
    data = {"series": [{"file": name} for name in names]}
    kept(tmp_path, *(NamedInput("series", name, "key") for name in names), data=data)
    inputs = tmp_path / "out" / "inputs"
    assert (inputs / "prices.csv").read_bytes() == (case / "prices.csv").read_bytes()
    text = (inputs / "scenario.yaml").read_text()
    assert "prices.csv" in text and ".." not in text and str(tmp_path) not in text
    copies = [inputs / "elsewhere" / "outside.csv", inputs / "elsewhere" / "2" / "outside.csv"]
    assert [copy.read_bytes() for copy in copies] == [(tmp_path / "outside.csv").read_bytes()] * 2


def test_what_comes_with_cosim_is_named_with_its_hash_and_not_copied(tmp_path: Path, case: Path) -> None:
    found = kept(tmp_path, NamedInput("feeder", "ieee37", "network.feeder"))
    feeder = next(one for one in found.inputs if one.kind == "feeder")
    assert feeder.shipped and feeder.files and not any(file.copied for file in feeder.files)
    assert sorted(p.name for p in (tmp_path / "out" / "inputs").iterdir()) == ["inputs.json", "scenario.yaml"]


def test_a_large_file_is_named_with_its_hash(tmp_path: Path, case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "COPIED_BYTES", 3)
    kept(tmp_path, NamedInput("series", "prices.csv", "key"))
    found = read_manifest(tmp_path / "out")
    with pytest.raises(InputError, match="too large to be copied"):
        check_inputs(tmp_path / "out", found)
    (tmp_path / "out" / "inputs" / "prices.csv").write_bytes((case / "prices.csv").read_bytes())
    assert check_inputs(tmp_path / "out", found) == []


def test_an_input_that_cannot_be_copied_is_a_problem_and_no_error(tmp_path: Path, case: Path) -> None:
    found = kept(tmp_path, NamedInput("series", "gone.csv", "key"), NamedInput("series", "prices.csv", "key"))
    assert len(found.problems) == 1 and "gone.csv is not kept" in found.problems[0]
    assert (tmp_path / "out" / "inputs" / "prices.csv").is_file()


def test_a_module_is_kept_with_what_it_imports_from_beside_it(tmp_path: Path, case: Path) -> None:
    (case / "my_part").mkdir()
    for name, text in {
        "my_part/__init__.py": "", "my_part/agents.py": "from . import other\nimport numpy\n",
        "my_part/other.py": "def f():\n    import my_helper\n", "my_helper.py": "raise SystemExit\n",
        "my_stranger.py": "",
    }.items():  # fmt: skip
        (case / name).write_text(text)
    found = [source.name for source in own_sources(["my_part.agents:A", "cosim.agents.dca:D"], case)]
    assert sorted(found) == ["my_helper.py", "my_part/__init__.py", "my_part/agents.py", "my_part/other.py"]


@given(st.text(max_size=40), st.sampled_from(["series", "feeder"]))
def test_no_name_of_a_file_leads_out_of_the_inputs(name: str, kind: Any) -> None:
    keeper = keeping._Keeper(Path("/out/inputs"), Path("/case/mine.yaml"))
    found = InputFiles(Path("/case"), (Path("/case/a.csv"),))
    _, places = keeper._places(NamedInput(kind, name, "key"), found)
    for place in places:
        assert not PurePosixPath(place).is_absolute() and ".." not in PurePosixPath(place).parts


@pytest.mark.parametrize("path", ["../stolen", "/etc/passwd", "link/passwd"])
def test_an_input_outside_of_the_folder_is_refused(tmp_path: Path, case: Path, path: str) -> None:
    kept(tmp_path)
    (tmp_path / "stolen").write_text("x")
    (tmp_path / "out" / "inputs" / "link").symlink_to("/etc")
    hostile = Manifest((KeptInput("series", path, (KeptFile(path, 1, "0", True),)),))
    with pytest.raises(InputError, match="outside of the folder"):
        check_inputs(tmp_path / "out", hostile)


def test_a_scenario_that_names_what_was_not_kept_is_refused(tmp_path: Path) -> None:
    data = {"network": {"feeder": "ieee37", "load_scale": {"file": "/etc/passwd", "column": "x"}}}
    known = Manifest((KeptInput("feeder", "ieee37", (), True),))
    with pytest.raises(InputError, match="not among the inputs") as refused:
        check_named(named_inputs(data), known, tmp_path)
    assert refused.value.key == "network.load_scale"


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"format": "cosim-inputs", "version": 1, "inputs": [1]}',
    '{"format": "cosim-inputs", "version": 1, "inputs": [], "git": 3, "problems": []}',
])  # fmt: skip
def test_a_damaged_list_of_inputs_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "inputs.json").write_text(text)
    with pytest.raises(InputError, match="list of inputs"):
        read_manifest(tmp_path)


def git(folder: Path, *arguments: str) -> str:
    """What git says in a folder; the test is skipped where there is no git."""
    try:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        pytest.skip("git is not installed")


def test_the_commit_is_told_and_what_is_not_as_in_it(case: Path) -> None:
    git(case, "init", "-q")
    assert commit_of(case, [case / "prices.csv"]) == {"commit": None, "changed": ["prices.csv"]}
    git(case, "add", ".")
    git(case, "commit", "-q", "-m", "first")
    commit = git(case, "rev-parse", "HEAD").strip()
    files = [case / "prices.csv", case / "mine.yaml", case / "new.csv"]
    (case / "new.csv").write_text("x\n")
    (case / "mine.yaml").write_text("name: other\n")
    assert commit_of(case, files) == {"commit": commit, "changed": ["mine.yaml", "new.csv"]}


def test_a_folder_without_a_repository_has_no_commit(tmp_path: Path) -> None:
    assert commit_of(tmp_path, []) is None


def test_a_repository_runs_nothing(case: Path) -> None:
    git(case, "init", "-q")
    git(case, "add", ".")
    git(case, "commit", "-q", "-m", "first")
    program = case / "evil.sh"
    program.write_text(f"#!/bin/sh\ntouch {case}/ran\ncat\n")
    program.chmod(0o755)
    for key in ("core.fsmonitor", "core.pager", "core.sshCommand", "filter.x.clean", "alias.rev-parse"):
        git(case, "config", key, f"!{program}" if key.startswith("alias") else str(program))
    (case / ".gitattributes").write_text("* filter=x\n")
    (case / "prices.csv").write_text("other\n")
    found = commit_of(case, [case / "prices.csv"])
    assert found is not None and found["changed"] == ["prices.csv"] and not (case / "ran").exists()


def test_the_manifest_is_read_as_it_was_written(tmp_path: Path, case: Path) -> None:
    found = kept(tmp_path, NamedInput("series", "prices.csv", "key"))
    assert read_manifest(tmp_path / "out") == found
    assert json.loads((tmp_path / "out" / "inputs" / "inputs.json").read_text())["format"] == "cosim-inputs"
