"""What a notebook shows: figures hold the numbers of the tables, key figures are a table, and names are text."""

from __future__ import annotations

import io
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import cosim
from cosim.constants import PHASES
from cosim.results.figures.style import DPI
from cosim.results.kpis import MEASURES, shown

HOSTILE = '<img src=x onerror="alert(1)"></td></table><b>x'


@pytest.fixture(scope="module")
def compared() -> cosim.Comparison:
    return cosim.compare("ieee37", ["uncoordinated", "welfare"], overrides={"clock.steps": 2, "clock.window_steps": 2})


def test_the_map_is_coloured_by_the_mean_prices_of_the_table(compared: cosim.Comparison) -> None:
    run = compared.runs["welfare"]
    prices = run.prices[run.prices["phase"].isin(PHASES)]
    mean = prices.groupby(["bus", "step"])["dlmp_p"].mean().groupby("bus").mean()
    drawn = [np.asarray(c.get_array()) for c in run.plot.map().axes[0].collections if c.get_array() is not None]
    assert any(len(v) == len(mean) and np.allclose(np.sort(v), np.sort(mean)) for v in drawn)


def test_the_heat_map_spans_the_prices_of_the_table(compared: cosim.Comparison) -> None:
    run = compared.runs["welfare"]
    (drawn,) = run.plot.prices().axes[0].collections or run.plot.prices().axes[0].images
    prices = run.prices[run.prices["phase"].isin(PHASES)].groupby(["bus", "step"])["dlmp_p"].mean()
    assert np.nanmax(np.asarray(drawn.get_array())) == pytest.approx(prices.max())
    assert np.nanmin(np.asarray(drawn.get_array())) == pytest.approx(prices.min())


def test_voltages_of_a_run_reach_the_extremes_of_the_table(compared: cosim.Comparison) -> None:
    run = compared.runs["uncoordinated"]
    heights = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in run.plot.voltages().axes[0].lines])
    for extreme in (run.voltages["v_ac_pu"].min(), run.voltages["v_ac_pu"].max()):
        assert np.abs(heights - extreme).min() < 1e-12


def test_a_comparison_draws_each_of_its_modes(compared: cosim.Comparison) -> None:
    for figure in (compared.plot.power(), compared.plot.voltages()):
        names = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
        assert {"uncoordinated", "welfare"} <= names
    assert compared.plot.costs().axes


def test_a_notebook_shows_a_figure_as_a_picture_of_its_size(compared: cosim.Comparison) -> None:
    figure = compared.plot.costs()
    picture, shown_at = figure._repr_png_()  # type: ignore[attr-defined]
    size = Image.open(io.BytesIO(picture)).size
    assert size == tuple(round(inches * DPI) for inches in figure.get_size_inches())
    assert shown_at["width"] / shown_at["height"] == pytest.approx(size[0] / size[1], rel=0.01)


def test_a_result_is_named_in_a_line(compared: cosim.Comparison) -> None:
    for result in (compared, *compared.runs.values()):
        assert len(repr(result)) < 100
        assert "\n" not in repr(result)
    assert "welfare" in repr(compared)


def test_a_feeder_or_map_that_is_not_there_is_refused(compared: cosim.Comparison) -> None:
    plot = compared.runs["welfare"].plot
    with pytest.raises(cosim.InputError, match="no such feeder"):
        plot.voltages("north")
    with pytest.raises(cosim.InputError, match="price, voltage"):
        plot.map("carbon")  # type: ignore[arg-type]


def test_several_feeders_are_drawn_one_by_one() -> None:
    run = cosim.run("two_feeders", mode="uncoordinated", overrides={"clock.steps": 1, "clock.window_steps": 1})
    with pytest.raises(cosim.InputError, match="name one"):
        run.plot.map()
    for name, limits in run.record.feeder_limits.items():
        heights = [line.get_ydata()[0] for line in run.plot.voltages(name).axes[0].lines]  # type: ignore[index]
        assert limits.v_min_pu in heights


def test_key_figures_of_a_comparison_are_a_table_by_mode(compared: cosim.Comparison) -> None:
    whole = ElementTree.fromstring(f"<div>{compared._repr_html_()}</div>")
    head, *rows = ([cell.text or "" for cell in row] for row in whole.iter("tr"))
    assert head == ["", "uncoordinated", "welfare", "unit"]
    costs = [shown("social_cost_usd", run.kpis["social_cost_usd"]) for run in compared.runs.values()]
    assert [MEASURES["social_cost_usd"].label, *costs, "USD"] in rows


def test_names_and_messages_are_text(compared: cosim.Comparison) -> None:
    run = compared.runs["welfare"]
    named = replace(run, record=replace(run.record, scenario=HOSTILE))
    several = replace(compared, runs={HOSTILE: named}, failures={HOSTILE: HOSTILE})
    for text in (named._repr_html_(), several._repr_html_()):
        assert "<img" not in text
        assert "&lt;img" in text
