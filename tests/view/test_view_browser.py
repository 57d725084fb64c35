"""``cosim view`` in a browser: find, open, compare two, follow to the end; and the page of a sweep."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim.results.durable import HeldFolder
from cosim.results.tables import Layout, Tables
from cosim.results.underway.writing import UNDERWAY_FILE
from cosim.sweep.reading import read_sweep
from tests.results.conftest import save_run
from tests.results.test_pages_browser import browser as browser
from tests.results.test_pages_browser import ready, spots

from .conftest import HOSTILE, Site, at, served

DRAWN = (
    "const told = document.documentElement.dataset;"
    "return document.readyState === 'complete' && (told.ready === 'all' || told.failed)"
)
ROWS = "return [...document.querySelectorAll('tbody tr')].filter((r) => !r.hidden).map((r) => r.cells[1].textContent)"


@pytest.fixture(autouse=True)
def quiet(browser: Any) -> Iterator[None]:
    """What is told of nothing that a page does."""
    browser.get_log("browser")
    yield
    told = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [text for text in told if "favicon" not in text] == []


def opened(browser: Any, address: str) -> None:
    browser.get(address)
    ready(browser, DRAWN)
    assert browser.execute_script("return document.documentElement.dataset.failed") is None


def write(browser: Any, name: str, value: str) -> None:
    """Put a value into a control, as a reader does."""
    browser.execute_script(
        "const it = document.getElementById(arguments[0]); it.value = arguments[1];"
        "it.dispatchEvent(new Event('input')); it.dispatchEvent(new Event('change'))", name, value
    )  # fmt: skip


def pick(browser: Any, name: str, label: str) -> None:
    """Choose what has this label."""
    browser.execute_script(
        "const it = document.getElementById(arguments[0]);"
        "it.value = [...it.options].find((o) => o.textContent === arguments[1]).value;"
        "it.dispatchEvent(new Event('change'))", name, label
    )  # fmt: skip


def test_a_reader_finds_opens_and_compares_two_runs(browser: Any, site: Site) -> None:
    opened(browser, site.server.address)
    assert len(browser.execute_script(ROWS)) == 7
    write(browser, "find-table-1-1", "run welfare tiny")
    assert set(browser.execute_script(ROWS)) == {f"deep/{HOSTILE}", "both/welfare"}
    write(browser, "find-table-1-1", "")
    tick = "document.querySelector(`input[name=run][value=${JSON.stringify(arguments[0])}]`).click();"
    for run in ("both/uncoordinated", "one", "both/welfare"):  # the third takes the place of the first
        browser.execute_script(tick, run)
    ticked = "return [...document.querySelectorAll('input[name=run]:checked')].map((b) => b.value).sort()"
    assert browser.execute_script(ticked) == ["both/welfare", "one"]
    browser.execute_script("document.querySelector('#ticked button').click()")
    ready(browser, "return location.pathname.endsWith('/compare')")
    ready(browser, DRAWN)
    chosen = "return ['run', 'less'].map((id) => document.getElementById(id).value)"
    assert set(browser.execute_script(chosen)) == {"one", "both/welfare"}
    assert np.abs(np.array(spots(browser)["colour"], dtype=float)).max() == 0.0
    browser.execute_script("document.querySelector('nav a').click()")
    ready(browser, "return document.querySelector('h1').textContent.startsWith('Results in')")


def test_nothing_is_asked_of_anybody_else(browser: Any, site: Site) -> None:
    browser.get_log("performance")
    for address in ("", at(f"deep/{HOSTILE}"), at("broken")):
        opened(browser, site.server.address + address)
        assert browser.execute_script("return document.querySelectorAll('img, b, i').length") == 0
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    own = site.server.address.removesuffix(f"{site.viewer.secret}/")
    assert {url for url in asked if not url.startswith((own, "data:", "blob:"))} == set()


def test_a_report_is_shown(browser: Any, folder: Path, site: Site) -> None:
    opened(browser, site.server.address + at("swept"))
    browser.execute_script("document.querySelectorAll('nav a')[1].click()")
    ready(browser, "return location.pathname.endsWith('/report.html') && document.querySelector('h1') !== null")
    shown = browser.execute_script("return [document.querySelector('h1').textContent, window.origin]")
    assert shown == ["limits", "null"]


def test_a_page_follows_a_run_to_its_end(browser: Any, tmp_path: Path, tables: Tables, layout: Layout) -> None:
    held = HeldFolder(tmp_path / "run")
    file = held.path / UNDERWAY_FILE
    head = {"format": "cosim-underway", "kind": "run", "name": "x", "mode": "welfare"}
    lines = [head, *({"s": s, "done": s, "total": 9, "doing": f"step {s}"} for s in range(3))]
    file.write_text("\n".join(map(json.dumps, lines)))
    with served(tmp_path) as site:
        opened(browser, f"{site.server.address}live/run")
        drawn = "return document.getElementById('chart-0').data[0].y"
        assert browser.execute_script(drawn) == [0, 1, 2]
        browser.execute_script("window.kept = true")
        with file.open("a") as stream:
            stream.write("\n" + json.dumps({"s": 4, "done": 3, "total": 9, "doing": "<b>step 3"}))
        ready(browser, "return document.querySelector('.told').textContent.includes('<b>step 3')")
        ready(browser, f"{drawn}.length === 4")
        assert browser.execute_script("return window.kept")  # it was not loaded again
        save_run(tmp_path / "made", tables, layout)
        shutil.rmtree(held.path)
        os.rename(tmp_path / "made", tmp_path / "run")
        held.release()
        ready(browser, "return document.body.textContent.includes('its results are there')")
        ready(browser, DRAWN)
        browser.execute_script("document.querySelectorAll('nav a')[1].click()")
        ready(browser, "return document.querySelector('h1').textContent === 'tiny: decentralized'")
        ready(browser, DRAWN)


def test_the_list_takes_up_new_results_and_keeps_what_a_reader_has_chosen(
    browser: Any, tmp_path: Path, tables: Tables, layout: Layout
) -> None:
    save_run(tmp_path / "first", tables, layout)
    save_run(tmp_path / "other", tables, layout, "welfare")
    with served(tmp_path) as site:
        opened(browser, site.server.address)
        browser.execute_script("window.kept = true; document.querySelector('input[value=first]').click()")
        write(browser, "find-table-1-1", "decentralized")
        browser.execute_script("document.querySelectorAll('thead button')[1].click()")
        save_run(tmp_path / "deep" / "added", tables, layout)
        ready(browser, "return document.querySelectorAll('tbody tr').length === 3")
        assert browser.execute_script(ROWS) == ["deep/added", "first"]
        told = "return [window.kept, document.querySelector('input[value=first]').checked]"
        assert browser.execute_script(told) == [True, True]


def test_a_page_says_that_the_viewer_has_ended(browser: Any, tmp_path: Path) -> None:
    with served(tmp_path) as site:
        opened(browser, site.server.address)
    ready(browser, "return !document.getElementById('silent').hidden")
    browser.get_log("browser")  # that the last request was not answered


def test_the_page_of_a_sweep_draws_what_is_chosen(browser: Any, folder: Path, site: Site) -> None:
    opened(browser, site.server.address + at("swept"))
    good = read_sweep(folder / "swept").ok
    shown = "const t = document.getElementById('chart-0').data; return [...'xy'].map((k) => t.flatMap((s) => s[k]))"
    x, y = browser.execute_script(shown)
    assert (sorted(x), sorted(y)) == (good["network.v_min_pu"].tolist(), pytest.approx(good["double"].tolist()))
    pick(browser, "x-0", "double")
    pick(browser, "colour-0", "network.v_min_pu")
    x, y = browser.execute_script(shown)
    assert x == y and browser.execute_script("return document.getElementById('chart-0').data.length") == len(good)
    text = browser.execute_script("return document.getElementById('chart-0').data[0].text[0]")
    assert text.startswith(f"run {good['run'].iloc[0]}<br>double: ")
