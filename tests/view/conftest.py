"""A folder of results of all kinds, and a server of it that stops by itself."""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pytest

import cosim
from cosim.results.comparison import read_comparison, write_comparison
from cosim.results.folders import RunFolder
from cosim.results.record import Record
from cosim.results.tables import Layout, Tables
from cosim.sweep.experiment import check_experiment
from cosim.view.server import Viewer, ViewServer
from tests.results.conftest import layout as layout
from tests.results.conftest import make_layout, make_record, make_rows, save_run
from tests.results.conftest import tables as tables

SECRET = "what lies outside"
HOSTILE = "<b>x & 'y'"
MEASURE = '''
from cosim.errors import RunFailure
from cosim.sweep.worker import Outcome


def measured(scenario, path):
    """Twice the limit; fails at 0.93."""
    if scenario.network.v_min_pu == 0.93:
        raise RunFailure("<i>the solver gave up</i>")
    return Outcome({"double": 2 * scenario.network.v_min_pu, "seed_seen": scenario.seed})
'''


@dataclass(frozen=True)
class Got:
    """An answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    text: str


@dataclass(frozen=True)
class Site:
    """A server, and how to ask it."""

    server: ViewServer

    @property
    def viewer(self) -> Viewer:
        return self.server.viewer

    def get(self, address: str, method: str = "GET", host: str | None = None, whole: bool = False) -> Got:
        """Ask for an address below the secret one, as it stands; ``whole``: it has all of it."""
        target = address if whole else f"/{self.viewer.secret}/{address}"
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=20)
        try:
            connection.putrequest(method, target, skip_host=True)
            connection.putheader("Host", host or f"127.0.0.1:{self.server.server_port}")
            connection.endheaders()
            answer = connection.getresponse()
            return Got(answer.status, dict(answer.getheaders()), answer.read().decode(errors="replace"))
        finally:
            connection.close()


@contextmanager
def served(root: Path) -> Iterator[Site]:
    """A server of a folder, for the length of a block."""
    with ViewServer(Viewer(root)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield Site(server)
        finally:
            server.shutdown()
            thread.join(timeout=10)


def fill(root: Path, tables: Tables, layout: Layout) -> None:
    """Runs, a comparison, a failed run, a sweep."""
    root.mkdir()
    save_run(root / "one", tables, layout)
    save_run(root / "deep" / HOSTILE, tables, layout, "welfare")
    both = root / "both"
    both.mkdir()
    for mode in ("uncoordinated", "welfare"):
        save_run(both / mode, tables, layout, mode)
    write_comparison({m: Record.read(both / m) for m in ("uncoordinated", "welfare")}, both)
    assert list(read_comparison(both)) == ["uncoordinated", "welfare"]
    draft = replace(make_record(tables), kpis={}, notes=(), certificate=None)
    with pytest.raises(RuntimeError), RunFolder(root / "broken", draft, "name: tiny\n"):
        raise RuntimeError("<script>it stopped</script>")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to show, with something beside it that must not be."""
    place = tmp_path_factory.mktemp("view")
    (place / "secret.csv").write_text(SECRET)
    (place / "secret.html").write_text(SECRET)
    fill(place / "results", Tables.from_rows(make_rows()), make_layout())
    (place / "view_measure.py").write_text(MEASURE)
    (place / "mine.yaml").write_text("base: ieee37\nname: mine\nmode: uncoordinated\nclock: {steps: 1}\n")
    experiment = check_experiment({
        "name": "limits", "scenario": str(place / "mine.yaml"), "measure": "view_measure:measured",
        "factors": {"network.v_min_pu": [0.92, 0.93, 0.94]},
    })  # fmt: skip
    sys.path.insert(0, str(place))
    try:
        cosim.run_sweep(experiment, place / "results" / "swept", engine="serial", figures=False)
    finally:
        sys.path.remove(str(place))
        sys.modules.pop("view_measure", None)
    return place / "results"


@pytest.fixture(scope="session")
def site(folder: Path) -> Iterator[Site]:
    with served(folder) as found:
        yield found


def at(address: str, file: str = "page.html") -> str:
    """The address of a file of results."""
    return f"at/{quote(address)}/{file}"
