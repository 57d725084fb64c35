"""``cosim view`` over real HTTP: what it lists and opens, what it refuses, and that it leaves nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import threading
import time
from html import escape, unescape
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cosim.cli.main import app
from cosim.results.record import Record
from cosim.results.tables import Layout, Tables
from cosim.sweep.reading import read_sweep
from cosim.view.server import Viewer, ViewServer
from tests.results.conftest import save_run
from tests.results.test_pages import data_in

from .conftest import HOSTILE, SECRET, Site, at, served


def rows(page: str) -> dict[str, list[str]]:
    """Rows of the first table of a page by the text of their second cell."""
    body = page.split("<tbody>", 1)[1].split("</tbody>", 1)[0]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in body.split("<tr>")[1:]]
    texts = [[unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in row] for row in cells]
    return {row[1]: row for row in texts}


def state_of(root: Path) -> dict[str, tuple[int, int]]:
    """Everything below a folder, with size and time of its last change."""
    return {str(p.relative_to(root)): (p.lstat().st_size, p.lstat().st_mtime_ns) for p in root.rglob("*")}


def test_the_list_tells_every_result_and_how_it_stands(site: Site) -> None:
    found = rows(site.get("").text)
    states = {address: (row[2], row[3]) for address, row in found.items()}
    assert states == {
        "one": ("run", "ok"), f"deep/{HOSTILE}": ("run", "ok"), "both": ("comparison", "ok"),
        "both/uncoordinated": ("run", "ok"), "both/welfare": ("run", "ok"), "broken": ("run", "failed"),
        "swept": ("sweep", "failed"),
    }  # fmt: skip
    assert found["swept"][5] == "3 of 3 runs done, 1 failed"
    assert "it stopped" in found["broken"][5]


def test_the_list_tells_the_cost_of_the_record(site: Site, folder: Path) -> None:
    cost = Record.read(folder / "one").kpis["social_cost_usd"].value
    assert rows(site.get("").text)["one"][6] == f"{cost:,.2f}"


@pytest.mark.parametrize("address", ["one", f"deep/{HOSTILE}", "both", "both/welfare", "swept", "broken"])
def test_results_open_as_a_page_and_nothing_is_written(site: Site, folder: Path, address: str) -> None:
    before = state_of(folder)
    got = site.get(at(address))
    assert (got.status, got.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "<h1>" in got.text and state_of(folder) == before


def test_a_key_of_a_scenario_leads_to_the_page_of_keys(site: Site) -> None:
    (target,) = set(re.findall(r'href="([^"#]+)#name"', site.get(at("one")).text))
    assert target == "../../keys.html"
    assert 'id="name"' in site.get("keys.html").text


def test_names_and_messages_of_others_are_text(site: Site) -> None:
    assert "<script>it stopped" not in site.get(at("broken")).text
    assert "<i>the solver" not in site.get(at("swept")).text
    for text in (site.get("").text, site.get(at(f"deep/{HOSTILE}")).text):
        assert "<b>x" not in text


def test_a_page_that_lies_there_is_not_given_out(tmp_path: Path, tables: Tables, layout: Layout) -> None:
    save_run(tmp_path / "run", tables, layout)
    (tmp_path / "run" / "page.html").write_text("<script>steal()</script>")
    with served(tmp_path) as site:
        assert "steal" not in site.get("at/run/page.html").text


def test_a_report_that_lies_there_runs_no_script(tmp_path: Path, tables: Tables, layout: Layout) -> None:
    save_run(tmp_path / "run", tables, layout)
    (tmp_path / "run" / "report.html").write_text("<script>steal()</script>")
    with served(tmp_path) as site:
        policy = site.get("at/run/report.html").headers["Content-Security-Policy"].split("; ")
    assert "sandbox" in policy and "default-src 'none'" in policy and not any("script-src" in p for p in policy)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "MOVE"])
def test_only_reading_is_answered(site: Site, folder: Path, method: str) -> None:
    before = state_of(folder)
    assert site.get(at("one"), method).status in (405, 501)
    assert state_of(folder) == before


def test_head_tells_the_length_and_no_content(site: Site) -> None:
    got = site.get(at("one", "record.json"), "HEAD")
    assert got.text == "" and int(got.headers["Content-Length"]) > 100


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "[fe80::1]"])
def test_another_name_of_the_machine_is_refused(site: Site, host: str) -> None:
    got = site.get("", host=host)
    assert got.status == 403 and "one" not in got.text


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:80", "LOCALHOST"])
def test_names_of_this_machine_are_taken(site: Site, host: str) -> None:
    assert site.get("", host=host).status == 200


@pytest.mark.parametrize("target", ["/", "/at/one/page.html", "/x/at/one/page.html", "http://evil.example/", "*"])
def test_without_the_secret_nothing_is_told(site: Site, target: str) -> None:
    got = site.get(target, whole=True)
    assert got.status in (400, 403) and "one" not in got.text.replace("one whole", "")


PARTS = [
    "..", ".", "", "%2e%2e", "%2E.", "..%2f..", "..%5c..", "%2f", "%00", "one", "both", "secret.csv", "secret.html",
    "report.html", "page.html", "record.json", "out.csv", "out", "etc", "passwd", "~", "C:", "%252e%252e", "steps",
    "run", "%c0%ae%c0%ae", "//", "results",
]  # fmt: skip


@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with links that lead out of the folder that is shown."""
    from tests.results.conftest import make_layout, make_rows

    place = tmp_path_factory.mktemp("trap")
    for name in ("secret.csv", "secret.html", "report.html", "record.json"):
        (place / name).write_text(SECRET)
    root = place / "results"
    save_run(root / "one", Tables.from_rows(make_rows()), make_layout())
    (root / "one" / "out.csv").symlink_to(place / "secret.csv")
    (root / "one" / "report.html").symlink_to(place / "secret.html")
    (root / "out").symlink_to(place, target_is_directory=True)
    os.mkfifo(root / "one" / "run.csv")
    return root


@pytest.fixture(scope="module")
def trap(trapped: Path) -> Viewer:
    return Viewer(trapped, secret="s")


@settings(max_examples=60)
@given(st.sampled_from(["at", "live", "compare", ""]), st.lists(st.sampled_from(PARTS), max_size=7))
def test_no_address_leads_out_of_the_folder(trap: Viewer, route: str, parts: list[str]) -> None:
    answer = trap.answer("/s/" + "/".join([route, *parts]))
    assert SECRET.encode() not in answer.content
    assert answer.status in (200, 400, 404)
    pair = trap.answer(f"/s/compare?run=one&run={quote('/'.join(parts))}")
    assert SECRET.encode() not in pair.content


def test_no_address_leads_out_over_http(trapped: Path) -> None:
    with served(trapped) as site:
        for address in ("at/../../secret.csv", "at/%2e%2e/secret.csv", "at//etc/passwd", "at/one/out.csv",
                        "at/out/secret.csv", "at/one/report.html", "at/one/run.csv", "live/../x", "at/one/%2e%2e/x"):
            got = site.get(address)
            assert got.status == 404 and SECRET not in got.text, address


def test_a_run_whose_tables_are_links_out_is_not_opened(tmp_path: Path, tables: Tables, layout: Layout) -> None:
    save_run(tmp_path / "root" / "run", tables, layout)
    (tmp_path / "secret").write_text(f"name: {SECRET}\n")
    scenario = tmp_path / "root" / "run" / "scenario.yaml"
    scenario.unlink()
    scenario.symlink_to(tmp_path / "secret")
    with served(tmp_path / "root") as site:
        got = site.get("at/run/page.html")
    assert got.status == 404 and "is a link that leads out" in got.text and SECRET not in got.text


def test_a_comparison_names_no_folder_elsewhere(tmp_path: Path, tables: Tables, layout: Layout) -> None:
    save_run(tmp_path / "elsewhere", tables, layout)
    (tmp_path / "root" / "both").mkdir(parents=True)
    (tmp_path / "root" / "both" / "comparison.csv").write_text("mode,status\n../../elsewhere,ok\n")
    with served(tmp_path / "root") as site:
        assert rows(site.get("").text)["both"][3] == "unreadable"
        assert site.get("at/both/page.html").status == 404


@pytest.mark.parametrize("file", ["own.py", "secret.key", "inputs/inputs.json", ".hidden.csv"])
def test_only_known_kinds_of_files_of_results_are_given_out(tmp_path: Path, tables: Tables, layout: Layout,
                                                           file: str) -> None:  # fmt: skip
    save_run(tmp_path / "run", tables, layout)
    (tmp_path / "run" / "inputs").mkdir()
    for name in ("own.py", "secret.key", ".hidden.csv"):
        (tmp_path / "run" / name).write_text("x")
    (tmp_path / "notes.csv").write_text("x")
    with served(tmp_path) as site:
        assert site.get("at/notes.csv").status == 404
        assert site.get(f"at/run/{file}").status == 404


def test_two_runs_are_compared_with_the_difference_of_their_figures(site: Site, folder: Path) -> None:
    other = f"deep/{HOSTILE}"
    got = site.get(f"compare?run=one&run={quote(other)}")
    (feeder,) = data_in(got.text)["maps"]
    assert {name for layer in feeder["layers"] for name in layer["runs"]} == {"one", other}
    assert data_in(got.text)["less"] == other
    assert f"<h1>one and {escape(other)}".replace("&#x27;", "&#39;") in got.text


@pytest.mark.parametrize("query", ["", "run=one", "run=one&run=one", "run=one&run=swept", "run=one&run=nothing",
                                   "run=one&run=..", "run=one&run=both&run=broken"])  # fmt: skip
def test_only_two_runs_are_compared(site: Site, query: str) -> None:
    assert site.get(f"compare?{query}").status == 404


def test_a_run_of_a_sweep_has_a_page_of_its_own(site: Site, folder: Path) -> None:
    table = read_sweep(folder / "swept").runs
    good, bad = table["run"][0], table["run"][1]
    assert f"runs/run={good}/page.html" in site.get(at("swept")).text
    assert ">1.84<" in site.get(at(f"swept/runs/run={good}")).text
    assert "the solver gave up" in site.get(at(f"swept/runs/run={bad}")).text


def test_a_folder_that_goes_while_it_is_shown_is_no_end(tmp_path: Path, tables: Tables, layout: Layout) -> None:
    save_run(tmp_path / "run", tables, layout)
    with served(tmp_path) as site:
        assert site.get("at/run/page.html").status == 200
        shutil.rmtree(tmp_path / "run")
        assert site.get("at/run/page.html").status == 404
        assert "There are no results here yet" in site.get("").text


def test_others_on_the_network_are_told_of_in_plain_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: ViewServer, poll_interval: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ViewServer, "serve_forever", interrupted)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    alone = CliRunner().invoke(app, ["view", str(tmp_path), "--no-open"])
    opened = CliRunner().invoke(app, ["view", str(tmp_path), "--no-open", "--host", "0.0.0.0"])
    assert alone.exit_code == opened.exit_code == 0
    assert "Anybody on the network" in opened.output and "Anybody" not in alone.output


def test_a_folder_that_is_none_and_a_port_that_is_taken_are_wrong_input(tmp_path: Path, site: Site) -> None:
    assert CliRunner().invoke(app, ["view", str(tmp_path / "none"), "--no-open"]).exit_code == 2
    taken = CliRunner().invoke(app, ["view", str(tmp_path), "--no-open", "--port", str(site.server.server_port)])
    assert taken.exit_code == 2 and "--port" in taken.output


def test_ctrl_c_ends_it_and_nothing_is_left(tmp_path: Path, tables: Tables, layout: Layout) -> None:
    save_run(tmp_path / "run", tables, layout)
    before = state_of(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def interrupt() -> None:
        while signal.getsignal(signal.SIGINT) is handlers[signal.SIGINT]:  # it does not listen yet
            time.sleep(0.01)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        ended = CliRunner().invoke(app, ["view", str(tmp_path), "--no-open"])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert (ended.exit_code, ended.output.splitlines()[-1]) == (0, "Ended.")
    assert state_of(tmp_path) == before
    port = int(re.findall(r"http://127.0.0.1:([0-9]+)/", ended.output)[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
