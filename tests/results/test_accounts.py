"""Accounts added up, and gains against a baseline, on tables made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from cosim.errors import InputError
from cosim.results.accounts.sheets import account_sheet, gain_sheet
from cosim.results.accounts.totals import baseline_among, by_party, gains, read_baseline, totals, write_gains
from cosim.results.figures.modes import gain_by_party
from cosim.results.figures.style import png
from cosim.results.tables import Tables, empty

PARTY = ("party",)


@pytest.fixture
def cheaper(tables: Tables) -> Tables:
    """The same run but for data center dc1, which pays a dollar less in each step, and generator dg, which is gone."""
    accounts = tables.accounts[tables.accounts["unit"] != "dg"].reset_index(drop=True)
    accounts.loc[accounts["unit"] == "dc1", "paid_usd"] -= 1.0
    return replace(tables, accounts=accounts)


def test_parties_are_added_up_over_units_and_steps(tables: Tables) -> None:
    found = totals(tables.accounts, PARTY).set_index("party")
    assert found.loc["dca", "paid_usd"] == 7 + 8 + 9 + 3 * 3
    assert found.loc["dca", "net_usd"] == -(7 + 8 + 9 + 3 * 3) - 3
    assert found.loc["dso", "net_usd"] == (1 + 2 + 3) - 0.75


def test_gains_are_what_is_left_more_than_in_the_baseline(tables: Tables, cheaper: Tables) -> None:
    found = gains({"a": tables, "b": cheaper}, "a", PARTY).set_index(["mode", "party"])["gain_usd"]
    assert (found["a"] == 0).all()
    assert found["b"].to_dict() == {"dca": 3.0, "dg": -4.5, "dso": 0.0, "upstream market": 0.0}


def test_gains_step_by_step_add_up_to_those_in_total(tables: Tables, cheaper: Tables) -> None:
    runs = {"a": tables, "b": cheaper}
    steps = gains(runs, "b", ("step", "party")).groupby(["mode", "party"])["gain_usd"].sum()
    pd.testing.assert_series_equal(steps, gains(runs, "b", PARTY).set_index(["mode", "party"])["gain_usd"])


def test_a_party_that_the_baseline_has_alone_loses_what_it_had(tables: Tables, cheaper: Tables) -> None:
    assert by_party(gains({"a": tables, "b": cheaper}, "a")).loc["dg", "b"] == -4.5


def test_without_accounts_of_the_baseline_there_are_no_gains(tables: Tables) -> None:
    bare = replace(tables, accounts=empty("accounts"))
    found = gains({"a": bare, "b": tables}, "a")
    assert found["gain_usd"].isna().all() and gain_sheet(found) is None
    assert account_sheet(bare.accounts) is None


@pytest.mark.parametrize(
    ("modes", "asked", "meant"),
    [
        ({"x": "welfare", "y": "uncoordinated"}, None, "y"),
        ({"x": "welfare", "y": "centralized"}, None, "x"),
        ({"x": "welfare", "y": "uncoordinated"}, "x", "x"),
    ],
)
def test_the_baseline_is_the_one_asked_for_or_uncoordinated_or_the_first(
    modes: dict[str, str], asked: str | None, meant: str
) -> None:
    assert baseline_among([*modes], modes, asked) == meant


def test_a_baseline_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no mode of this name"):
        baseline_among(["x"], {"x": "welfare"}, "z")


def test_the_file_of_gains_names_the_baseline(tables: Tables, cheaper: Tables, tmp_path: Path) -> None:
    assert read_baseline(tmp_path) is None
    write_gains(gains({"a": tables, "b": cheaper}, "b"), tmp_path)
    assert read_baseline(tmp_path) == "b"


def test_a_sheet_says_that_all_payments_come_to_the_same(tables: Tables) -> None:
    sheet = account_sheet(tables.accounts)
    assert sheet is not None
    name, _, texts = sheet.rows[-1]
    assert name == "all" and texts[2] == texts[3]


def test_many_parties_are_drawn_as_the_largest_and_the_others(tables: Tables, cheaper: Tables) -> None:
    figure = gain_by_party(gains({"a": tables, "b": cheaper}, "a"), most=2)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["dg", "dca", "others (2)"]
    assert png(figure)
