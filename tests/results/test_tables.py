"""Tables: checked, sorted, and the same bytes for the same rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cosim.errors import InputError
from cosim.results.schemas import SCHEMAS, Column, Schema
from cosim.results.tables import Layout, Tables, check, empty, read_table, write_table

Rows = dict[str, list[dict[str, object]]]


def test_every_table_comes_back_from_parquet_as_it_was(
    tables: Tables, layout: Layout, tmp_path: Path
) -> None:
    tables.write(tmp_path)
    layout.write(tmp_path)
    for before, after in ((tables, Tables.read(tmp_path)), (layout, Layout.read(tmp_path))):
        for (name, one), (_, other) in zip(before.items(), after.items(), strict=True):
            pd.testing.assert_frame_equal(one, other, obj=name)


def test_results_without_positions_of_devices_are_read(tables: Tables, tmp_path: Path) -> None:
    frames = {name: frame for name, frame in tables.items() if name != "taps"}
    Tables.from_frames(frames).write(tmp_path)
    assert not (tmp_path / "taps.parquet").exists()
    assert Tables.read(tmp_path).taps.empty


def test_rows_in_any_order_give_the_same_bytes(rows: Rows, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for place in ("one", "other"):
        (tmp_path / place).mkdir()
        Tables.from_rows(rows).write(tmp_path / place)
        rows = {name: [part[i] for i in rng.permutation(len(part))] for name, part in rows.items()}
    for name in (n for n in Tables.names() if rows.get(n)):
        one, other = ((tmp_path / place / f"{name}.parquet").read_bytes() for place in ("one", "other"))
        assert one == other, name


def test_bytes_do_not_depend_on_the_hash_seed(tables: Tables, tmp_path: Path) -> None:
    write_table("prices", tables.prices, tmp_path / "here.parquet")
    code = (
        "import sys; from pathlib import Path; from cosim.results.tables import read_table, write_table\n"
        "source, target = map(Path, sys.argv[1:])\n"
        "write_table('prices', read_table('prices', source), target)"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "here.parquet"), str(tmp_path / "there.parquet")]
    subprocess.run(arguments, check=True, env={"PYTHONHASHSEED": "7"})
    assert (tmp_path / "here.parquet").read_bytes() == (tmp_path / "there.parquet").read_bytes()


def test_each_field_of_a_file_carries_its_unit(tables: Tables, tmp_path: Path) -> None:
    write_table("prices", tables.prices, tmp_path / "prices.parquet")
    schema = pq.read_schema(tmp_path / "prices.parquet")
    assert schema.field("dlmp_p").metadata[b"unit"] == b"USD/MWh"


def test_a_table_is_sorted_by_its_key(tables: Tables) -> None:
    for name, frame in tables.items():
        key = [column for column in SCHEMAS[name].key if column in frame]
        pd.testing.assert_frame_equal(frame[key], frame[key].sort_values(key, ignore_index=True))


def test_a_table_without_rows_keeps_columns_and_types(tmp_path: Path) -> None:
    write_table("rounds", empty("rounds"), tmp_path / "rounds.parquet")
    frame = read_table("rounds", tmp_path / "rounds.parquet")
    assert list(frame.columns) == [c.name for c in SCHEMAS["rounds"].columns if not c.unsaid]
    assert frame["round"].dtype == np.int64 and frame.empty


def test_an_optional_column_that_is_left_out_is_filled_with_missing_values(tables: Tables) -> None:
    assert tables.prices["q_energy"].isna().all()


def test_the_given_frame_is_not_changed(rows: Rows) -> None:
    frame = pd.DataFrame(rows["steps"])
    before = frame.copy()
    check("steps", frame)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("demand", "p_kw", np.nan, "missing value"),
        ("demand", "p_kw", np.inf, "infinite"),
        ("demand", "p_kw", "much", "kind float"),
        ("demand", "datacenter", 7, "kind text"),
        ("demand", "step", 1.5, "kind int"),
        ("demand", "step", True, "kind int"),
        ("demand", "phase", "ac", "not allowed"),
        ("prices", "phase", "abc", "not allowed"),
        ("steps", "converged", 1, "kind bool"),
        ("steps", "time", "noon", "kind time"),
        ("steps", "time", pd.Timestamp("2024-01-01", tz="UTC"), "time zone"),
        ("voltages", "v_ac_pu", -np.inf, "infinite"),
    ],
)
def test_a_wrong_value_is_refused_and_named(
    rows: Rows, table: str, column: str, value: Any, message: str
) -> None:
    for row in rows[table]:
        row[column] = value
    with pytest.raises(InputError, match=message) as caught:
        Tables.from_rows(rows)
    assert caught.value.key == f"{table}.{column}"


@pytest.mark.parametrize("nothing", [None, np.nan])
@pytest.mark.parametrize("dtype", [object, "str"])
def test_text_that_may_be_missing_may_be_missing_in_all_rows(nothing: float | None, dtype: Any) -> None:
    remark = Schema("remarks", "", (Column("row", "int"), Column("text", "text", nullable=True)), ("row",))
    frame = pd.DataFrame({"row": [0, 1], "text": pd.Series([nothing, nothing], dtype=dtype)})
    assert check(remark, frame)["text"].isna().all()


def test_a_missing_column_is_refused(rows: Rows) -> None:
    frame = pd.DataFrame(rows["demand"]).drop(columns="q_kvar")
    with pytest.raises(InputError, match="lacks a column") as caught:
        check("demand", frame)
    assert caught.value.key == "demand.q_kvar"


def test_an_unknown_column_is_refused(rows: Rows) -> None:
    with pytest.raises(InputError, match="unknown column"):
        check("demand", pd.DataFrame(rows["demand"]).assign(colour="red"))


def test_two_rows_with_one_key_are_refused(rows: Rows) -> None:
    rows["demand"].append(rows["demand"][0])
    with pytest.raises(InputError, match="two rows with the same key"):
        Tables.from_rows(rows)


def test_a_message_may_be_sent_twice(rows: Rows) -> None:
    rows["messages"].append(rows["messages"][0])
    assert len(Tables.from_rows(rows).messages) == 4


def test_an_unknown_table_is_refused(rows: Rows) -> None:
    with pytest.raises(InputError, match="unknown table"):
        Tables.from_rows({**rows, "colours": []})


def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    path = tmp_path / "steps.parquet"
    with pytest.raises(InputError, match="missing") as caught:
        read_table("steps", path)
    assert caught.value.file == path
    path.write_bytes(b"PAR1 but not really")
    with pytest.raises(InputError, match="not readable as Parquet"):
        read_table("steps", path)
