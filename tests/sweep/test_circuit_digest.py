"""A sweep knows an OpenDSS circuit by what its script reads, not by where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosim.errors import InputError
from cosim.sweep.digest import InputDigests


def digest(folder: Path, loads: str) -> str:
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "loads.dss").write_text(loads)
    (folder / "master.dss").write_text("new circuit.c bus1=s\nredirect parts/loads.dss\n")
    (found,) = InputDigests(folder / "scenario.yaml").of({"network": {"dss": "master.dss"}}).values()
    return found


def test_what_a_redirect_reads_counts_and_the_place_does_not(tmp_path: Path) -> None:
    one = digest(tmp_path / "one", "new load.a bus1=s kw=5\n")
    assert digest(tmp_path / "two", "new load.a bus1=s kw=5\n") == one
    assert digest(tmp_path / "three", "new load.a bus1=s kw=6\n") != one


def test_a_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        InputDigests(tmp_path / "scenario.yaml").of({"network": {"dss": "nowhere.dss"}})
    assert (caught.value.key, caught.value.value) == ("network.dss", "nowhere.dss")
