"""The harness for own operators: a sound one passes, and each broken one is told by the name of what it breaks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cosim.grid.feeder.feeder import Bus, Feeder, Line, LineCode, Load
from cosim.grid.feeder.tables import write_feeder
from cosim.testing import Report, check_operator

MODULE = '''
from dataclasses import replace

import numpy as np

from cosim.agents.dso import DistributionSystemOperator
from cosim.protocol.roles import Prices


class Sound(DistributionSystemOperator):
    pass


class Turned(Sound):
    """Pays for demand what it should ask."""

    def clear(self, p_mw):
        found = super().clear(p_mw)
        return replace(found, prices=Prices(-found.prices.p_usd_per_mwh, -found.prices.q_usd_per_mvarh))


class Tariff(Sound):
    """Charges the same whatever demand costs."""

    def clear(self, p_mw):
        found = super().clear(p_mw)
        return replace(found, prices=Prices(np.full_like(p_mw, 90.0), 0.0 * p_mw))


class Stale(Sound):
    """Stays with the first window that was opened."""

    known = None

    def open_window(self, window, declared_p_mw):
        if self.known is None or window.first == self.known:
            self.known = window.first
            super().open_window(window, declared_p_mw)


class StaleWhenCleared(Sound):
    """Clears the window after the first one at the first one's cost."""

    first_cost = None

    def clear(self, p_mw):
        found = super().clear(p_mw)
        if self._first == 0:
            self.first_cost = found.cost_usd
        cost = found.cost_usd if self.first_cost is None else self.first_cost
        return found if self._first == 0 else replace(found, cost_usd=cost)


class Drifting(Sound):
    count = 0

    def clear(self, p_mw):
        self.count += 1
        found = super().clear(p_mw)
        return replace(found, cost_usd=found.cost_usd * 1.001**self.count)


class Grasping(Sound):
    """Chooses more than the best demand."""

    def clear_near(self, p_mw, price, penalty):
        found = super().clear_near(p_mw, price, penalty)
        return replace(found, p_mw=self.p_max_mw + 0.0 * found.p_mw)


class Content(Sound):
    def regret_usd(self, p_mw, price):
        return -1.0


class Kilowatts(Sound):
    """Tells its import in MW."""

    def commit(self, t):
        found = super().commit(t)
        return replace(found, p_sub_kw=found.p_sub_kw / 1000)


class Leaking(Sound):
    """Tells an import without losses, and then some."""

    def commit(self, t):
        found = super().commit(t)
        return replace(found, p_sub_kw=0.8 * found.p_sub_kw)


class Rationing(Sound):
    """Settles less than was asked for."""

    def settle(self, p_mw, support):
        return super().settle(0.9 * p_mw, support)


class Meddling(Sound):
    def settle(self, p_mw, support):
        found = super().settle(p_mw.copy(), support)
        p_mw[:] *= 1.01
        return found


class Scalar(Sound):
    """One price for all terminals and steps."""

    def settle(self, p_mw, support):
        found = super().settle(p_mw, support)
        return replace(found, prices=Prices(found.prices.p_usd_per_mwh[:1], found.prices.q_usd_per_mvarh))


class Mute:
    def __init__(self, model, prepared, loads):
        pass
'''

CODE = LineCode(
    "c", ((0.35, 0.15, 0.15), (0.15, 0.35, 0.15), (0.15, 0.15, 0.35)),
    ((1.0, 0.45, 0.45), (0.45, 1.0, 0.45), (0.45, 0.45, 1.0)), ((0.0,) * 3,) * 3,
)  # fmt: skip
FEEDER = Feeder(
    "small", "s", 12.47, 1.02, buses=(Bus("s", 12.47, grounded=True), Bus("m", 12.47, grounded=True)),
    lines=(Line("x", "s", "m", "abc", 15000.0, "c"),), line_codes=(CODE,),
    loads=(Load("u", "m", "wye", "a", "PQ", 500.0, 200.0),),
)  # fmt: skip
SCENARIO = {
    "schema_version": 1, "name": "small", "seed": 1, "mode": "decentralized",
    "clock": {"start": "2024-07-15T10:00:00", "steps": 4, "window_steps": 2, "gate_s": 3600, "round_s": 5},
    "network": {"feeder": "feeder", "load_scale": {"constant": 1.0}},
    "market": {"price_usd_per_mwh": {"values": [40.0, 60.0, 30.0, 80.0]}},
    "generators": [{"name": "g", "bus": "m", "p_max_kw": 150, "s_kva": 200, "cost_usd_per_mwh": 30,
                    "cost_usd_per_mw2h": 60}],
    "datacenters": [{"name": "dc", "bus": "m", "it_peak_kw": 600.0, "it_idle_kw": 80.0, "pue": 1.2}],
    "workload": {"utilisation": {"constant": 0.6}, "classes": [{"name": "fixed", "share": 1.0}]},
    "decentralized": {"rule": "admm", "max_rounds": 4, "tolerance": 1e-6, "penalty_usd_per_mw2h": 50.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("own")
    (place / "own_operators.py").write_text(MODULE)
    (place / "small.yaml").write_text(yaml.safe_dump(SCENARIO))
    write_feeder(FEEDER, place / "feeder")
    yield place
    sys.modules.pop("own_operators", None)


def checked(folder: Path, name: str) -> Report:
    return check_operator(f"own_operators:{name}", scenario=folder / "small.yaml", folder=folder)


@pytest.mark.slow
def test_the_operator_of_the_package_has_no_finding(folder: Path) -> None:
    report = checked(folder, "Sound")
    assert not report.findings, str(report)


BROKEN = {
    "Turned": (["sign"], ["duals"]), "Stale": (["window"], []), "Tariff": ([], ["duals"]),
    "StaleWhenCleared": (["window"], []), "Drifting": (["state"], []), "Grasping": (["near"], []),
    "Content": (["regret"], []), "Kilowatts": (["units"], []), "Leaking": ([], ["balance"]),
    "Rationing": (["clearing"], []), "Meddling": (["unchanged"], []), "Scalar": (["shapes"], []),
    "Mute": (["created"], []),
}  # fmt: skip
QUICK = ("Turned", "Mute")


@pytest.mark.parametrize("name", [pytest.param(x, marks=[] if x in QUICK else pytest.mark.slow) for x in BROKEN])
def test_a_broken_operator_is_told_what_it_breaks(name: str, folder: Path) -> None:
    broken, doubtful = BROKEN[name]
    report = checked(folder, name)
    assert set(broken) <= set(report.broken), str(report)
    assert set(doubtful) <= {f.check for f in report.findings if not f.broken}, str(report)
    assert not set(report.broken) - {*broken, "raised", "clearing", "delivered", "state", "window"}, str(report)
