"""The interactive page of a hosting study holds what its tables say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cosim.cli.main import app
from cosim.hosting.study.page import write_hosting_page
from cosim.hosting.study.result import read_hosting
from cosim.results.pages.packing import unpack


def test_the_map_holds_the_capacities_and_the_curves_of_the_tables(tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["hosting", "ieee37", "--buses", "740,701,720", "--steps", "4", "--no-figures", "--out", str(out)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert not (out / "page.html").exists()
    text = write_hosting_page(out).read_text(encoding="utf-8")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert data is not None
    (feeder,) = json.loads(data[1])["maps"]
    found = read_hosting(out)
    bus_of = found.connections.set_index("connection")["bus"]
    for layer in feeder["layers"]:
        shown = unpack(layer["runs"]["all cases"])[0]
        assert np.isfinite(shown).sum() == 3
        for connection, capacity in found.summary()[layer["key"]].items():
            assert shown[feeder["buses"].index(bus_of[connection])] == pytest.approx(capacity, abs=0.06)
    curve = unpack(feeder["curves"]["means"]["none"])
    for row in found.duration.itertuples():
        place = feeder["buses"].index(bus_of[row.connection]), feeder["curves"]["share"].index(row.at_least_pct)
        assert curve[place] == pytest.approx(row.limit_kw, abs=0.06)
