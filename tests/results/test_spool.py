"""Tables written part by part against the same tables written whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.errors import InputError
from cosim.results import spool
from cosim.results.spool import Kept, Spool, StoredTables
from cosim.results.tables import Tables, write_table


def voltages(first: int, steps: int, rng: np.random.Generator) -> pd.DataFrame:
    """Voltages of three buses over some steps, in no order."""
    rows = [
        {"step": step, "bus": bus, "phase": phase, "v_pu": rng.uniform(0.9, 1.1), "v_ac_pu": None}
        for step in range(first, first + steps)
        for bus in ("799", "701", "702")
        for phase in ("ab", "bc", "ca")
    ]
    return pd.DataFrame(rows).sample(frac=1.0, random_state=7)


@settings(max_examples=20)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12), part=st.integers(1, 60), group=st.integers(1, 200)
)
def test_parts_make_the_same_bytes_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], part: int, group: int
) -> None:
    folder, rng = tmp_path_factory.mktemp("spool"), np.random.default_rng(1)
    starts = np.cumsum([0, *lengths])
    parts = [voltages(int(start), steps, rng) for start, steps in zip(starts, lengths, strict=False)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "_PART", part)
        patch.setattr(spool, "ROW_GROUP", group)
        patch.setattr("cosim.results.tables.ROW_GROUP", group)
        shelf = Spool(folder)
        for rows in parts:
            shelf.add("voltages", rows)
        shelf.close()
        write_table("voltages", pd.concat(parts), folder / "whole.parquet")
    assert (folder / "voltages.parquet").read_bytes() == (folder / "whole.parquet").read_bytes()


def test_both_shelves_give_the_same_tables(tmp_path: Path) -> None:
    kept, stored = Kept(), Spool(tmp_path)
    for first in (0, 24, 48):
        for shelf in (kept, stored):
            shelf.add("voltages", voltages(first, 24, np.random.default_rng(first)))
    one, other = kept.close(), stored.close()
    for name in Tables.names():
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.lengths() == other.lengths()


def test_rows_that_go_back_in_time_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_PART", 1)
    shelf = Spool(tmp_path)
    shelf.add("voltages", voltages(24, 24, np.random.default_rng(1)))
    with pytest.raises(InputError, match=r"goes back in time.*47"):
        shelf.add("voltages", voltages(47, 2, np.random.default_rng(1)))


def test_an_unknown_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown table"):
        Spool(tmp_path).add("volts", voltages(0, 1, np.random.default_rng(1)))


def test_a_stored_table_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    shelf = Spool(tmp_path)
    shelf.add("voltages", voltages(0, 2, np.random.default_rng(1)))
    tables = shelf.close()
    (tmp_path / "prices.parquet").unlink()
    assert len(tables.voltages) == 18
    with pytest.raises(InputError, match="'prices' is missing"):
        _ = tables.prices


def test_some_columns_are_those_of_the_whole(tmp_path: Path) -> None:
    shelf = Spool(tmp_path)
    shelf.add("voltages", voltages(0, 2, np.random.default_rng(1)))
    shelf.close()
    for tables in (StoredTables(tmp_path), StoredTables(tmp_path, keep=True)):
        found = tables.only("voltages", "v_pu", "bus")
        pd.testing.assert_frame_equal(found, tables.voltages[["v_pu", "bus"]])


def test_a_kept_table_outlives_its_file(tmp_path: Path) -> None:
    shelf = Spool(tmp_path)
    shelf.add("voltages", voltages(0, 2, np.random.default_rng(1)))
    shelf.close()
    tables = StoredTables(tmp_path, keep=True)
    first = tables.voltages
    (tmp_path / "voltages.parquet").unlink()
    assert tables.voltages is first
