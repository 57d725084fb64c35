"""Interactive pages in a browser: the slider moves colours, texts are those of the tables, nothing is fetched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cosim
from cosim.constants import PHASES, PRICE_PARTS
from cosim.results.pages.grids import map_of
from cosim.results.pages.packing import unpack
from cosim.results.pages.page import LIBRARY_FILE, Page, write_page
from cosim.results.pages.runs import write_pages
from cosim.results.record import VoltageLimits
from cosim.results.tables import Layout, Tables, read_table

from .test_pages import data_of

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--window-size=1400,1200",
)  # fmt: skip
HOSTILE = '<img src="https://example.org/x.png" onerror="document.title=1"></script><b>dc'


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser without a window, its requests recorded."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        missing = "no Chromium with its chromedriver is installed"
        if os.environ.get("COSIM_BROWSER") == "required":
            pytest.fail(missing)
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two modes with a data center whose name is HTML."""
    folder = tmp_path_factory.mktemp("browser") / "out"
    cosim.compare("ieee37_stress", modes=["uncoordinated", "welfare"], out=folder,
                  overrides={"clock.steps": 3, "clock.window_steps": 3}, figures=False)  # fmt: skip
    for mode in ("uncoordinated", "welfare"):
        for table in ("demand", "units"):
            path = folder / mode / f"{table}.parquet"
            frame = pd.read_parquet(path)
            pd.DataFrame(frame.replace("dc718", HOSTILE)).to_parquet(path)
    write_pages(folder)
    return folder


def opened(browser: Any, page: Path) -> None:
    """Open a page and wait until all of it is drawn."""
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.as_uri())
    ready(browser, "return document.documentElement.dataset.ready === 'all' || document.documentElement.dataset.failed")
    assert browser.execute_script("return document.documentElement.dataset.failed") is None


def ready(browser: Any, condition: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60, 0.05).until(lambda b: b.execute_script(condition))


def spots(browser: Any) -> dict[str, Any]:
    """What the map shows at each bus: colours and texts."""
    found: dict[str, Any] = browser.execute_script(
        "const t = document.getElementById('map').data.find((t) => t.marker && t.marker.showscale);"
        "return {colour: Array.from(t.marker.color), text: t.text, low: t.marker.cmin, high: t.marker.cmax}"
    )
    return found


def put(browser: Any, control: str, value: str) -> None:
    """Set a control as a reader does, and wait until the map follows."""
    browser.execute_async_script(
        "const [id, value, done] = arguments, it = document.getElementById(id), map = document.getElementById('map');"
        "map.once('plotly_afterplot', () => setTimeout(done, 150)); it.value = value;"
        "it.dispatchEvent(new Event(it.type === 'range' ? 'input' : 'change'))", control, value
    )  # fmt: skip


def test_the_slider_moves_the_colours_and_texts_to_the_values_of_the_step(browser: Any, compared: Path) -> None:
    opened(browser, compared / "welfare" / "page.html")
    buses = data_of(compared / "welfare" / "page.html")["maps"][0]["buses"]
    prices = read_table("prices", compared / "welfare" / "prices.parquet")
    table = prices[prices["phase"].isin(["a", "b", "c"])].pivot_table(index="step", columns="bus", values="dlmp_p")
    first = spots(browser)["colour"]
    put(browser, "step", "2")
    shown = spots(browser)
    assert shown["colour"] == pytest.approx(table.loc[2, buses].to_numpy(), abs=6e-4)
    assert shown["colour"] != first
    assert shown["text"] == [f"{bus}: {value:.3f}" for bus, value in zip(buses, shown["colour"], strict=True)]
    assert browser.execute_script("return document.getElementById('time').textContent") == "15 Jul 2024 02:00"


def test_hovering_shows_the_number_of_the_table(browser: Any, compared: Path) -> None:
    opened(browser, compared / "welfare" / "page.html")
    put(browser, "layer", "v_min")
    browser.execute_script(
        "const map = document.getElementById('map');"
        "const n = map.data.findIndex((t) => t.marker && t.marker.showscale);"
        "const i = map.data[n].text.findIndex((t) => t.startsWith('740:'));"
        "Plotly.Fx.hover(map, [{curveNumber: n, pointNumber: i}])"
    )
    voltages = read_table("voltages", compared / "welfare" / "voltages.parquet")
    least = voltages[(voltages["step"] == 0) & (voltages["bus"] == "740")]["v_ac_pu"].min()
    told = browser.execute_script("return document.querySelector('#map .hoverlayer').textContent")
    assert told == f"740: {least:.5f}"


def test_a_bus_that_is_chosen_shows_its_parts_voltages_and_power(browser: Any, compared: Path) -> None:
    opened(browser, compared / "welfare" / "page.html")
    browser.execute_script(
        "const i = document.getElementById('bus'); i.value = '740'; i.dispatchEvent(new Event('change'))"
    )
    ready(browser, "return document.documentElement.dataset.told === '740'")
    names, drawn = browser.execute_script(
        "const of = (id) => document.getElementById(id).data;"
        "return [of('bus-voltage').map((t) => t.name), of('bus-power')[0]]"
    )
    assert names == ["ab", "bc", "ca", "lowest allowed", "highest allowed"]
    demand = read_table("demand", compared / "welfare" / "demand.parquet")
    power = demand[demand["datacenter"] == "dc740"].groupby("step")["p_kw"].sum()
    assert drawn["y"] == pytest.approx([*power, power.iloc[-1]], abs=0.006)
    assert drawn["x"][-2:] == ["2024-07-15T02:00:00", "2024-07-15T03:00:00"]  # the last value, to the end of its step


def test_a_comparison_shows_the_difference_of_two_runs(browser: Any, compared: Path) -> None:
    opened(browser, compared / "page.html")
    layers = {layer["key"]: layer["runs"] for layer in data_of(compared / "page.html")["maps"][0]["layers"]}
    one, other = (unpack(layers["v_min"][mode]) for mode in ("welfare", "uncoordinated"))
    for control, value in (("layer", "v_min"), ("run", "welfare"), ("less", "uncoordinated"), ("step", "1")):
        put(browser, control, value)
    shown = spots(browser)
    assert np.abs(one - other).max() > 1e-4
    assert shown["colour"] == pytest.approx((one - other)[1], abs=1e-9)
    assert shown["low"] == -shown["high"]
    told = browser.execute_script("return document.getElementById('told').textContent")
    assert told == f"welfare less uncoordinated: at most {np.abs(one - other).max():.5f} apart over all steps."
    put(browser, "less", "welfare")
    told = browser.execute_script("return document.getElementById('told').textContent")
    assert told == "welfare and welfare coincide here in every step."


def test_a_head_sorts_its_column(browser: Any, compared: Path) -> None:
    opened(browser, compared / "welfare" / "page.html")
    script = (
        "const t = [...document.querySelectorAll('table.sortable')].find((t) => t.tHead.textContent.includes('net'));"
        "t.tHead.rows[0].cells[7].querySelector('button').click();"
        "return [...t.tBodies[0].rows].map((r) => Number(r.cells[7].dataset.value))"
    )
    rising = browser.execute_script(script)
    assert rising == sorted(rising)
    assert browser.execute_script(script) == sorted(rising, reverse=True)


@pytest.mark.parametrize("place", ["page.html", "welfare/page.html"])
def test_nothing_is_fetched_but_the_library_and_names_are_text(browser: Any, compared: Path, place: str) -> None:
    opened(browser, compared / place)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    allowed = {(compared / place).as_uri(), (compared / LIBRARY_FILE).as_uri()}
    assert {url for url in asked if not url.startswith(("data:", "blob:"))} <= allowed
    text, elements, title = browser.execute_script(
        "const drawn = [...document.querySelectorAll('.plot')].map((p) => p.data);"
        "return [document.documentElement.textContent + JSON.stringify(drawn),"
        "document.querySelectorAll('img, b').length, document.title]"
    )
    assert elements == 0
    assert title != "1"
    assert "<b>dc" in text or "&lt;b&gt;dc" in text
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_dark_and_light_change_what_is_drawn(browser: Any, compared: Path) -> None:
    opened(browser, compared / "welfare" / "page.html")
    ground = "return document.getElementById('map').layout.paper_bgcolor"
    before = browser.execute_script(ground)
    browser.execute_script("document.getElementById('theme').click()")
    ready(browser, f"{ground} !== arguments[0]".replace("arguments[0]", repr(before)))
    assert {before, browser.execute_script(ground)} == {"#ffffff", "#14181f"}


def contrast(one: str, other: str) -> float:
    """Ratio of the luminances of two colours (WCAG 2.1)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_curves_stand_out_from_a_dark_ground(browser: Any, compared: Path) -> None:
    opened(browser, compared / "page.html")
    browser.execute_script("document.documentElement.dataset.theme = 'light'; document.getElementById('theme').click()")
    ready(browser, "return document.getElementById('map').layout.paper_bgcolor === '#14181f'")
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('.chart .plot')].flatMap((p) => p.data).map((t) => t.line.color)"
    )
    assert len(drawn) > 4
    assert min(contrast(colour, "#14181f") for colour in drawn) > 4.5


def test_the_page_begins_with_the_bus_of_the_data_center_that_draws_most(browser: Any, compared: Path) -> None:
    opened(browser, compared / "uncoordinated" / "page.html")
    demand = read_table("demand", compared / "uncoordinated" / "demand.parquet")
    most = demand.groupby("datacenter")["p_kw"].sum().idxmax()
    ready(browser, "return document.documentElement.dataset.told")
    assert browser.execute_script("return document.getElementById('bus-name').textContent") == most.removeprefix("dc")


def test_the_bus_is_told_of_beside_the_map_where_there_is_room(browser: Any, compared: Path) -> None:
    opened(browser, compared / "welfare" / "page.html")
    place = "return document.getElementById(arguments[0]).getBoundingClientRect().toJSON()"
    shown, panel = (browser.execute_script(place, name) for name in ("map", "bus-panel"))
    assert panel["left"] >= shown["right"]
    drawn = browser.execute_script("return document.querySelector('#map .main-svg').getBoundingClientRect().toJSON()")
    assert drawn["width"] == pytest.approx(shown["width"], abs=2)
    assert drawn["height"] == pytest.approx(shown["height"], abs=2)


def test_keys_alone_reach_the_slider_and_move_it(browser: Any, compared: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(browser, compared / "welfare" / "page.html")
    seen = []
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(browser.switch_to.active_element.get_attribute("id"))
        if seen[-1] == "step":
            break
    assert {"theme", "print", "layer", "own-scale", "bus", "play", "step"} <= set(seen)
    before = spots(browser)["colour"]
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    ready(browser, "return document.documentElement.dataset.shown === '1'")
    assert spots(browser)["colour"] != before


def test_a_dark_page_is_printed_light_with_its_time_and_dark_again_after(browser: Any, compared: Path) -> None:
    opened(browser, compared / "welfare" / "page.html")
    ground = "return document.getElementById('map').layout.paper_bgcolor"
    browser.execute_script(
        "document.documentElement.dataset.theme = 'light'; document.getElementById('theme').click();"
        "window.seen = []; window.addEventListener('beforeprint', () => seen.push("
        "document.getElementById('map').layout.paper_bgcolor, document.getElementById('paper').textContent))"
    )
    ready(browser, f"{ground} === '#14181f'")
    assert browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    ready(browser, "return window.seen.length === 2")
    assert browser.execute_script("return window.seen") == ["#ffffff", "welfare 15 Jul 2024 00:00"]
    ready(browser, f"{ground} === '#14181f'")


def test_a_key_of_the_scenario_leads_to_its_row(browser: Any, compared: Path) -> None:
    opened(browser, compared / "welfare" / "page.html")
    browser.execute_script(
        "document.querySelector('details').open = true;"
        "[...document.querySelectorAll('.keys a')].find((a) => a.textContent === 'v_min_pu').click()"
    )
    ready(browser, "return document.title === 'Every key' && document.querySelector(':target')")
    row = browser.execute_script("return document.querySelector('tr:has(:target)').textContent")
    assert row.startswith("v_min_pu") and "per unit" in row


def large(buses: int, steps: int) -> Page:
    """A day on a feeder that is a random tree, each bus with one phase."""
    random = np.random.default_rng(1)
    names = np.array([f"bus{i}" for i in range(buses)])
    parent = np.array([0, *(random.integers(max(0, i - 40), i) for i in range(1, buses))])
    spots = np.cumsum(random.normal(size=(buses, 2)), axis=0)
    layout = Layout.from_frames({
        "buses": pd.DataFrame({"bus": names, "x": spots[:, 0], "y": spots[:, 1], "kv": 12.5,
                               "role": ["source", *["bus"] * (buses - 1)]}),
        "branches": pd.DataFrame({"name": names[1:], "from_bus": names[parent[1:]], "to_bus": names[1:]}),
    })  # fmt: skip
    n = buses * steps
    key = {"step": np.repeat(np.arange(steps), buses), "bus": np.tile(names, steps), "phase": np.tile(
        np.array(PHASES)[random.integers(0, 3, buses)], steps)}  # fmt: skip
    parts = {part: random.normal(30, 5, n) for part in PRICE_PARTS}
    tables = Tables.from_frames({
        "prices": pd.DataFrame({**key, "dlmp_p": sum(parts.values()), "dlmp_q": 0.0, **parts}),
        "voltages": pd.DataFrame({**key, "v_pu": random.normal(1, 0.01, n), "v_ac_pu": np.nan}),
    })  # fmt: skip
    times = [f"step {t}" for t in range(steps)]
    feeder = map_of(layout, {"welfare": (tables, VoltageLimits(0.95, 1.05))}, pd.RangeIndex(steps), detailed=True)
    return Page("large", "", maps=[feeder], times=times, iso=times)


@pytest.mark.slow  # it times: a busy machine is slower than the page
def test_a_day_of_8500_buses_is_usable_after_less_than_3_s(browser: Any, tmp_path: Path) -> None:
    """Time that the page computes (of its main thread), so that other work on the machine does not count."""
    page = write_page(large(8500, 24), tmp_path)
    browser.execute_cdp_cmd("Performance.disable", {})
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    opened(browser, page)
    told = {m["name"]: m["value"] for m in browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]}
    assert len(spots(browser)["colour"]) == 8500
    assert told["TaskDuration"] < 3.0
