"""Figures: drawn from the right numbers, the same bytes each time, and nothing global changed."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cosim.results.comparison import comparison_table
from cosim.results.figures.deviations import deviations_over_time
from cosim.results.figures.maps import bus_prices, feeder_map, price_heatmap
from cosim.results.figures.modes import comparison_figures, cost_by_mode
from cosim.results.figures.runs import convergence, run_figures, site_prices
from cosim.results.figures.style import COLOURS, colours, most, new_figure, png, style, thinned, time_axis
from cosim.results.layout import coordinates, feeder_order
from cosim.results.tables import Layout, Tables

from .conftest import LIMITS, Rows, make_record

ALL_FIGURES = {
    "map_price", "map_voltage", "price_heatmap", "price_heatmap_phase", "price_parts", "power_and_price",
    "work", "voltages", "unbalance", "taps", "dispatch", "convergence",
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """All figures of a run as PNG, and matplotlib's settings before they were drawn and after."""

    images: dict[str, bytes]
    before: dict[str, object]
    after: dict[str, object]


@pytest.fixture(scope="module")
def drawn(tables: Tables, layout: Layout) -> Drawn:
    before = dict(mpl.rcParams)
    images = {name: png(figure) for name, figure in run_figures(tables, layout, LIMITS).items()}
    return Drawn(images, before, dict(mpl.rcParams))


def test_a_run_has_every_figure(drawn: Drawn) -> None:
    assert set(drawn.images) == ALL_FIGURES
    assert all(image.startswith(b"\x89PNG") for image in drawn.images.values())


def test_figures_without_data_are_left_out(rows: Rows, layout: Layout) -> None:
    bare = Tables.from_rows({"steps": rows["steps"]})
    assert run_figures(bare, layout, LIMITS) == {}


def test_devices_that_did_not_move_have_no_figure(tables: Tables, layout: Layout) -> None:
    frames = dict(tables.items()) | {"taps": tables.taps.assign(moves=0)}
    assert set(run_figures(Tables(**frames), layout, LIMITS)) == ALL_FIGURES - {"taps"}


def test_a_figure_drawn_twice_has_the_same_bytes(drawn: Drawn, tables: Tables, layout: Layout) -> None:
    assert drawn.images == {name: png(figure) for name, figure in run_figures(tables, layout, LIMITS).items()}


@pytest.mark.parametrize("place", [(100.0, 0.0), (0.0, 0.0), (50.0, 20.0)])
def test_a_name_on_a_map_stays_clear_of_the_colour_bar(place: tuple[float, float]) -> None:
    """The name of a substation at the edge of the map, where most room is on the side of the bar."""
    xy = [place, *((float(x), float(y)) for x in range(0, 101, 10) for y in (30, 40))]
    names = [f"a_rather_long_name_of_a_bus_{i}" for i in range(len(xy))]
    layout = Layout.from_rows({
        "buses": [{"bus": name, "x": x, "y": y, "kv": 4.8, "role": "bus" if i else "source"}
                  for i, (name, (x, y)) in enumerate(zip(names, xy, strict=True))],
        "branches": [{"name": "l", "from_bus": names[0], "to_bus": names[1]}], "units": [],
    })  # fmt: skip
    figure = feeder_map(layout, pd.Series(range(len(xy)), index=names, dtype=float), "value", "Map")
    png(figure)
    (name,) = figure.axes[0].texts
    box, bar = name.get_window_extent(), figure.axes[1].get_window_extent()
    assert name.get_text() == names[0]
    assert box.x0 >= 0
    assert box.x1 <= bar.x0


def test_drawing_changes_no_global_setting_and_opens_no_window(drawn: Drawn) -> None:
    import matplotlib.pyplot as plt

    assert drawn.after == drawn.before
    assert plt.get_fignums() == []


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_few_steps_are_enough(tables: Tables, layout: Layout, count: int) -> None:
    frames = {n: f[f["step"] < count] if "step" in f.columns else f for n, f in tables.items()}
    for figure in run_figures(Tables(**frames), layout, LIMITS).values():
        png(figure)


@pytest.mark.parametrize(
    ("count", "minutes", "ticks", "labels"),
    [
        (24, 60, 5, ["00:00", "06:00", "12:00", "18:00", "00:00"]),
        (2, 60, 5, ["00:00", "00:30", "01:00", "01:30", "02:00"]),
        (1, 60, 3, ["00:00", "00:30", "01:00"]),
        (48, 60, 5, ["00:00", "12:00", "00:00", "12:00", "00:00"]),
        (72, 60, 5, ["15 Jul", "16 Jul", "17 Jul", "18 Jul"]),
        (365, 1440, 9, ["15 Jul", "13 Oct", "11 Jan", "11 Apr", "10 Jul"]),
    ],
)
def test_times_are_labelled_at_round_hours_or_dates(
    count: int, minutes: int, ticks: int, labels: list[str]
) -> None:
    ax = Figure().add_subplot()
    time_axis(ax, pd.date_range("2024-07-15", periods=count, freq=f"{minutes}min"), ticks)
    assert [text.get_text() for text in ax.get_xticklabels()] == labels


def test_the_price_of_a_bus_is_the_mean_over_its_phases(tables: Tables) -> None:
    changed = tables.prices.copy()
    changed.loc[(changed["bus"] == "3") & (changed["phase"] == "a") & (changed["step"] == 0), "dlmp_p"] = 34.5
    assert bus_prices(changed).loc["3", 0] == pytest.approx((34.5 + 31.5 + 31.5) / 3)


def test_a_site_on_one_leg_sees_the_price_of_that_leg(tables: Tables, layout: Layout) -> None:
    changed = tables.prices.copy()
    changed.loc[(changed["bus"] == "1") & (changed["phase"] == "ab"), "dlmp_p"] = 99.0
    seen = site_prices(changed, layout).set_index(["unit", "step"])["dlmp_p"]
    assert (seen["dc2"] == 99.0).all()
    assert seen["dc1", 0] == pytest.approx(31.5)


def test_buses_are_ordered_from_the_source_along_each_branch() -> None:
    edges = [("s", "1"), ("1", "3"), ("1", "2"), ("3", "4")]
    layout = Layout.from_rows(
        {
            "buses": [
                {"bus": b, "x": None, "y": None, "kv": 4.8, "role": "source" if b == "s" else "bus"}
                for b in "4321s"
            ],
            "branches": [{"name": f"{a}{b}", "from_bus": a, "to_bus": b} for a, b in edges],
        }
    )
    assert feeder_order(layout) == ["s", "1", "2", "3", "4"]
    place = coordinates(layout)
    assert place["x"].to_dict() == {"s": 0.0, "1": 1.0, "2": 2.0, "3": 2.0, "4": 3.0}
    assert not place.duplicated().any()


def test_every_name_has_a_colour_of_its_own_while_there_are_enough() -> None:
    names = ["a", "b", "c", "known"]
    tint = colours(names, {"known": COLOURS[0]})
    assert tint["known"] == COLOURS[0] and len(set(tint.values())) == 4


def test_a_legend_keeps_the_heaviest_names_in_their_order() -> None:
    assert most(["a", "b", "c"], pd.Series({"a": 1.0, "b": 3.0, "c": 2.0}), count=2) == ["b", "c"]


def test_a_comparison_has_its_figures_also_without_the_welfare_mode(tables: Tables) -> None:
    runs = {"uncoordinated": tables, "case x": tables}
    table = comparison_table({name: make_record(t, name) for name, t in runs.items()})
    figures = comparison_figures(table, runs, LIMITS)
    assert set(figures) == {"cost_by_mode", "voltage_by_mode", "power_by_mode", "unbalance_by_mode"}
    for figure in figures.values():
        assert png(figure) == png(figure)


def test_cost_bars_are_as_high_as_the_costs(tables: Tables) -> None:
    records = {m: make_record(tables, m) for m in ("welfare", "decentralized")}
    table = comparison_table(records)
    table.loc["decentralized", "social_cost_usd"] = 100.0
    above, below = cost_by_mode(table).axes
    heights = [[bar.get_height() for bar in group] for group in above.containers]
    assert heights == [[93.0, 90.0, 63.0, 60.0], [100.0, 90.0, 63.0, 60.0]]
    extra = [bar.get_height() for bar in below.containers[1]]
    assert extra == [7.0, 0.0, 0.0, 0.0]


def test_a_label_that_looks_like_broken_mathematics_is_shown_as_it_is() -> None:
    label = r"$\frac{$"
    with style():
        figure = new_figure(2.0, label)
        ax = figure.subplots()
        ax.set(xlabel=label, ylabel=label)
        ax.set_xticks([0.0, 1.0], [label, label])
    assert png(figure)[:4] == b"\x89PNG"


def test_rounds_of_two_settlements_of_the_same_step_are_lines_of_their_own(tables: Tables) -> None:
    rounds = tables.rounds[tables.rounds["step"] == tables.rounds["step"].iloc[0]].assign(price_residual=1.0)
    twice = pd.concat([rounds.assign(stage=stage) for stage in ("day_ahead", "real_time")])
    (one,), (two,) = (convergence(frame).axes[0].collections for frame in (rounds, twice))
    lines = [len(found.get_segments()) for found in (one, two)]
    assert lines == [1, 2]


def test_what_is_drawn_and_held_is_added_up_over_sites() -> None:
    steps = pd.DataFrame({"step": [0, 1], "time": pd.to_datetime(["2024-07-15T00:00", "2024-07-15T01:00"])})
    rows = pd.DataFrame({
        "step": [0, 0, 1, 1], "position_kw": [100.0, 50.0, 0.0, 0.0], "drawn_kw": [90.0, 70.0, 10.0, 0.0],
        "day_ahead_usd_per_mwh": [40.0, 40.0, 40.0, 50.0], "real_time_usd_per_mwh": [46.0, 43.0, 42.0, 56.0],
    })  # fmt: skip
    power, price = deviations_over_time(rows, steps).axes
    held, drawn = (line.get_ydata()[:2].tolist() for line in power.lines)
    assert (held, drawn) == ([150.0, 0.0], [160.0, 10.0])
    assert price.lines[-1].get_ydata()[:2] == pytest.approx([5.0, 4.0])  # plain mean where nothing is held


@pytest.mark.parametrize(
    ("days", "most", "words", "per_span"),
    [(20, 480, "", 1), (120, 600, "means of 6 h", 6), (365, 600, "means of days", 24),
     (365, 200, "means of 2 days", 48)],
)  # fmt: skip
def test_more_steps_than_can_be_seen_become_means_over_round_spans(
    days: int, most: int, words: str, per_span: int
) -> None:
    times = pd.date_range("2023-01-01", periods=24 * days, freq="h")
    values = np.arange(24.0 * days) ** 2
    rows, begins, told = thinned(pd.DataFrame({"value": values}), times, most)
    parts = np.split(values, range(per_span, len(values), per_span))
    assert told == words
    assert len(rows) <= most
    assert begins.equals(times[::per_span])
    assert rows["value"].tolist() == pytest.approx([part.mean() for part in parts])


def test_a_heat_map_of_a_year_shows_means_of_days(layout: Layout) -> None:
    hours = 24 * 365
    steps = pd.DataFrame({"step": range(hours), "time": pd.date_range("2023-01-01", periods=hours, freq="h")})
    prices = pd.concat([
        pd.DataFrame({"step": steps["step"], "bus": bus, "phase": "a", "energy": 0.0, "dlmp_p": scale * steps["step"]})
        for bus, scale in (("s", 1.0), ("2", 3.0))
    ])  # fmt: skip
    mesh = price_heatmap(prices, steps, layout).axes[0].collections[0]
    days = np.arange(hours).reshape(365, 24).mean(axis=1)
    np.testing.assert_allclose(mesh.get_array(), [days, 3.0 * days])
