"""Interactive pages as files: numbers come back, nothing is fetched, names are text, the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

import cosim
from cosim.results.pages.charts import Chart, Choice, Trace, coinciding, curves, duration
from cosim.results.pages.packing import pack, unpack
from cosim.results.pages.runs import write_pages
from cosim.results.tables import read_table


@given(
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
           elements=st.floats(-1e6, 1e6) | st.just(np.nan)),
    st.integers(0, 3),
)  # fmt: skip
def test_packed_numbers_come_back_as_they_were_rounded(values: NDArray[np.float64], digits: int) -> None:
    back = unpack(pack(values, digits))
    assert np.array_equal(np.isnan(back), np.isnan(values))
    known = ~np.isnan(values)
    assert np.abs(back - values)[known].max(initial=0.0) <= 0.5001 * 10.0**-digits


def test_numbers_too_large_for_their_digits_keep_fewer() -> None:
    values = np.array([[1e12, -3e11, np.inf]])
    back = unpack(pack(values, 3))
    assert back[0, :2] == pytest.approx(values[0, :2], rel=1e-8)
    assert np.isnan(back[0, 2])


@given(st.lists(st.floats(allow_infinity=False, allow_nan=True), max_size=9))
def test_numbers_of_a_chart_keep_seven_digits(values: list[float]) -> None:
    (choice,) = Chart("", "", "", [Choice("", [Trace("", (), np.array(values))])]).data()["choices"]
    for value, kept in zip(values, choice["traces"][0]["y"], strict=True):
        if kept is None:
            assert np.isnan(value)
        else:
            assert kept == pytest.approx(value, rel=5.0001e-7, abs=1e-300)
            assert kept == float(f"{kept:.7g}") or not 1e-15 < abs(value) < 1e22


def test_series_that_coincide_are_in_one_group() -> None:
    series = {"a": np.array([1.0, 2.0]), "b": np.array([1.0, 3.0]), "c": np.array([1.0, 2.0 + 1e-9])}
    assert coinciding(series, 1e-6) == [("a", "c"), ("b",)]


def test_a_duration_curve_says_in_which_share_of_the_time_a_value_is_reached() -> None:
    values = np.array([3.0, 1.0, 2.0, 5.0])
    (curve,) = duration({"x": values})
    for share, value in zip(curve.x[:-1], curve.y[:-1], strict=True):
        assert 100 * np.mean(values > value) == share
    assert (curve.x[-1], curve.y[-1]) == (100, 1.0)


def test_curves_count_as_one_by_the_range_that_is_shown() -> None:
    near, apart = {"a": np.array([900.0, 1000.0]), "b": np.array([900.0, 1000.09])}, np.array([900.0, 1000.2])
    assert [t.name for t in curves(near, [0, 1])] == ["a = b"]
    assert [t.name for t in curves({**near, "b": apart}, [0, 1])] == ["a", "b"]
    flat = {"a": np.array([1000.0, 1000.0]), "b": np.array([1000.0, 1000.0 + 1e-6])}
    assert [t.name for t in curves(flat, [0, 1])] == ["a = b"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two modes of two steps, with their pages."""
    folder = tmp_path_factory.mktemp("pages") / "out"
    modes = {"uncoordinated": "uncoordinated", "again": "uncoordinated", "welfare": "welfare"}
    steps = {"clock.steps": 2, "clock.window_steps": 2}
    cosim.compare("ieee37", modes=modes, overrides=steps, out=folder, figures=False)
    assert not (folder / "page.html").exists()
    assert "page.html" not in (folder / "report.html").read_text(encoding="utf-8")
    write_pages(folder)
    return folder


def data_of(page: Path) -> dict[str, Any]:
    """What a page draws."""
    return data_in(page.read_text(encoding="utf-8"))


def data_in(text: str) -> dict[str, Any]:
    """What a page of this text draws."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_map_holds_the_prices_and_voltages_of_the_tables(compared: Path) -> None:
    (feeder,) = data_of(compared / "welfare" / "page.html")["maps"]
    layers = {layer["key"]: unpack(layer["runs"]["welfare"]) for layer in feeder["layers"]}
    prices = read_table("prices", compared / "welfare" / "prices.parquet")
    phases = prices[prices["phase"].isin(["a", "b", "c"])]
    mean = phases.pivot_table(index="step", columns="bus", values="dlmp_p")
    voltages = read_table("voltages", compared / "welfare" / "voltages.parquet")
    least = voltages.pivot_table(index="step", columns="bus", values="v_ac_pu", aggfunc="min")
    for key, table, digits in (("price", mean, 3), ("v_min", least, 5)):
        wanted = table.reindex(columns=feeder["buses"]).to_numpy()
        assert np.nanmax(np.abs(layers[key] - wanted)) <= 0.5001 * 10.0**-digits
    parts = sum(unpack(part) for part in feeder["parts"].values())
    assert np.nanmax(np.abs(parts - layers["price"])) <= 0.006


def test_the_size_of_a_site_follows_its_power(compared: Path) -> None:
    (feeder,) = data_of(compared / "welfare" / "page.html")["maps"]
    powers = unpack(feeder["powers"]["welfare"])
    demand = read_table("demand", compared / "welfare" / "demand.parquet")
    for number, unit in enumerate(feeder["units"]):
        if unit["site"]:
            drawn = demand[demand["datacenter"] == unit["name"]].groupby("step")["p_kw"].sum()
            assert powers[:, number] == pytest.approx(drawn.to_numpy(), abs=0.006)


def test_modes_that_coincide_are_told_and_share_a_curve(compared: Path) -> None:
    text = (compared / "page.html").read_text(encoding="utf-8")
    assert "uncoordinated and again coincide in the power of all data centers" in text
    names = [t["name"] for c in data_of(compared / "page.html")["charts"] for k in c["choices"] for t in k["traces"]]
    assert "uncoordinated = again" in names


def test_a_comparison_and_its_runs_link_to_each_other_and_share_the_library(compared: Path) -> None:
    assert [p.relative_to(compared).as_posix() for p in compared.rglob("plotly.min.js")] == ["plotly.min.js"]
    for page in compared.rglob("page.html"):
        text = page.read_text(encoding="utf-8")
        targets = re.findall(r'(?:href|src)="([^"]+)"', text)
        assert len(targets) > 2
        assert all((page.parent / target.partition("#")[0]).is_file() for target in targets)


@pytest.mark.usefixtures("undrawn")
def test_a_report_and_the_page_beside_it_link_to_each_other(tmp_path: Path) -> None:
    steps = {"clock.steps": 1, "clock.window_steps": 1}
    cosim.compare("ieee37", ["uncoordinated"], overrides=steps, out=tmp_path / "out")
    for folder in (tmp_path / "out", tmp_path / "out" / "uncoordinated"):
        for here, there in (("report.html", "page.html"), ("page.html", "report.html")):
            assert f'href="{there}"' in (folder / here).read_text(encoding="utf-8")
            assert (folder / there).is_file()
    assert 'href="uncoordinated/report.html"' in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_pages_written_again_have_the_same_bytes(compared: Path) -> None:
    before = {p: p.read_bytes() for p in compared.rglob("page.html")}
    write_pages(compared)
    assert {p: p.read_bytes() for p in before} == before


def test_a_page_allows_no_script_but_its_own_and_no_fetch(compared: Path) -> None:
    text = (compared / "page.html").read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    script = re.search(r"<script>(.*?)</script>", text, re.S)
    assert policy is not None
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    allowed = policy[1].replace("&#39;", "'")
    assert f"'sha256-{digest}'" in allowed
    assert allowed.startswith("default-src 'none'; ")
    assert "http" not in allowed
    assert "unsafe-inline" not in allowed.partition("script-src")[2].partition(";")[0]
    assert not re.search(r'(?:src|href)="(?:https?:)?//', text)
