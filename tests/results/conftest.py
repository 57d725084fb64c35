"""A small feeder and three hours of made-up results, small enough to check by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cosim.constants import LEGS, PHASES
from cosim.results.folders import RunFolder
from cosim.results.kpis import RunFacts, compute_kpis
from cosim.results.record import Record, VoltageLimits
from cosim.results.tables import Layout, Tables

BUSES = ("s", "1", "2", "3")
STEPS = (0, 1, 2)
LIMITS = VoltageLimits(0.95, 1.05)
FACTS = RunFacts(step_hours=1.0, welfare_usd=80.0, mip_gap=1e-4, wall_s=2.0, solver_s=0.5)
SCENARIO_TEXT = "name: tiny\ndescription: <b>bold & plain</b>\n"

Rows = dict[str, list[dict[str, object]]]


def make_rows() -> Rows:
    """Rows of all tables, deliberately out of order."""
    start = pd.Timestamp("2024-07-15T00:00:00")
    rows: Rows = {
        "steps": [
            {
                "step": t, "time": start + pd.Timedelta(hours=t), "mode": "decentralized",
                "market": "day_ahead",
                "price_sub_usd_per_mwh": 30.0 + 10 * t, "p_sub_kw": 1000.0 + t, "q_sub_kvar": 300.0,
                "dso_cost_usd": 30.0, "dca_payment_usd": 10.0 * (t + 1), "dca_own_cost_usd": 1.0,
                "social_cost_usd": 31.0, "rounds": (4, 4, 7)[t], "converged": t != 2, "slack_kwh": 2.0 * t,
                "p_sub_ac_kw": 1001.0, "losses_ac_kw": 12.0,
            }
            for t in reversed(STEPS)
        ],
        "demand": [
            {"step": t, "datacenter": d, "phase": phase, "p_kw": p, "q_kvar": 30.0, "utilisation": 0.5}
            for t in STEPS
            for d, phase, p in (("dc1", "abc", 100.0 + 50 * t), ("dc2", "ab", 50.0))
        ],
        "dispatch": [
            {"step": t, "unit": u, "kind": k, "phase": "abc", "p_kw": p, "q_kvar": q}
            for t in STEPS
            for u, k, p, q in (
                ("substation", "import", 1000.0, 300.0),
                ("dg", "dispatchable", 80.0, 5.0),
                ("svg", "svg", 0.0, 60.0),
            )
        ],
        "work": [
            {
                "step": t, "datacenter": d, "class": c, "arrived_mwh": 0.1,
                "served_mwh": (0.05, 0.1, 0.14)[t], "deferred_mwh": (0.05, 0.05, 0.01)[t], "late_mwh": 0.0,
            }
            for t in STEPS
            for d in ("dc1", "dc2")
            for c in ("batch", "interactive")
        ],
        "rounds": [
            {
                "step": 0, "round": r, "time": 5.0 * r, "price_residual": 0.0 if r == 1 else 10.0**-r,
                "power_residual_kw": 100.0 * 2.0**-r, "dca_cost_usd": 60.0, "dso_cost_usd": 90.0,
            }
            for r in (2, 1, 3)
        ],
        "messages": [
            {
                "sent": s, "received": r, "sender": "dso", "receiver": "dca", "kind": "PricePosting",
                "step": 0, "round": n,
            }
            for s, r, n in ((5.0, None, 2), (0.0, 0.05, 1), (10.0, 10.05, 2))
        ],
        "taps": [
            {"step": t, "device": d, "kind": k, "phase": x, "position": at[t], "moves": abs(at[t] - at[max(t - 1, 0)])}
            for t in reversed(STEPS)
            for d, k, x, at in (
                ("reg", "regulator", "ab", (7, 8, 6)), ("reg", "regulator", "cb", (4, 4, 4)),
                ("cap", "capacitor", "a", (0, 1, 1)),
            )
        ],
        "flows": [
            {"step": t, "branch": b, "phase": x, "bus": b[0], "p_kw": 300.0 - t, "q_kvar": 90.0, "current_a": 40.0,
             "loading_pct": None if b == "s-1" else 60.0 + t, "p_ac_kw": 301.0, "q_ac_kvar": 91.0,
             "current_ac_a": 41.0, "loading_ac_pct": None if b == "s-1" else 61.0}
            for t in reversed(STEPS) for b in ("s-1", "1-2", "2-3") for x in PHASES
        ],
        "limits": [
            {"step": t, "kind": "rating", "element": "1-2", "phase": x, "source": source, "status": "broken",
             "value": 420.0, "limit": 400.0, "beyond": 20.0 + t, "beyond_pct": 5.0 + t / 4, "unit": "kVA",
             "shadow_price": 12.5 if source == "linear" else None, "price_unit": "USD/MVAh",
             "in_base_case": ("no", "yes", "unknown")[t]}
            for t in reversed(STEPS) for x in PHASES for source in ("linear", "ac")
        ],
        "accounts": [
            {
                "step": t, "party": party, "kind": kind, "unit": unit, "bought_kwh": bought, "sold_kwh": sold,
                "received_usd": received, "paid_usd": paid, "reactive_usd": 0.0, "own_cost_usd": own,
            }
            for t in STEPS
            for party, kind, unit, bought, sold, received, paid, own in (
                ("dca", "datacenter", "dc1", 100.0, 0.0, 0.0, 7.0 + t, 1.0),
                ("dca", "datacenter", "dc2", 50.0, 0.0, 0.0, 3.0, 0.0),
                ("dg", "generator", "dg", 0.0, 80.0, 4.0, 0.0, 2.5),
                ("upstream market", "source", "import", 0.0, 75.0, 5.0, 0.0, 5.0),
                ("dso", "operator", "dso", 155.0, 150.0, 10.0 + t, 9.0, 0.25),
            )
        ],
        "prices": [], "voltages": [], "unbalance": [],
    }  # fmt: skip
    for t in STEPS:
        for n, bus in enumerate(BUSES):
            rows["unbalance"].append(
                {"step": t, "bus": bus, "vuf_pct": 0.1 * n, "lvur_pct": 0.2 * n, "pvur_pct": 0.3 * n}
            )
            for phase in (*PHASES, *LEGS):
                parts = {
                    "energy": 30.0 + 10 * t,
                    "loss": 0.5 * n,
                    "voltage": 0.0,
                    "congestion": 0.0,
                    "unbalance": 0.0,
                }
                rows["prices"].append(
                    {
                        "step": t,
                        "bus": bus,
                        "phase": phase,
                        "dlmp_p": sum(parts.values()),
                        "dlmp_q": 1.0,
                        **parts,
                    }
                )
            for leg in LEGS:
                v = 1.0 - 0.02 * n
                rows["voltages"].append(
                    {"step": t, "bus": bus, "phase": leg, "v_pu": v, "v_ac_pu": None if t == 2 else v - 0.001}
                )
    return rows


def make_layout() -> Layout:
    """A line of four buses, the source first."""
    place = {"s": (0.0, 0.0), "1": (1.0, 0.0), "2": (2.0, 0.0), "3": (2.0, 1.0)}
    return Layout.from_rows(
        {
            "buses": [
                {"bus": b, "x": x, "y": y, "kv": 4.8, "role": "source" if b == "s" else "bus"}
                for b, (x, y) in place.items()
            ],
            "branches": [
                {"name": f"{a}-{b}", "from_bus": a, "to_bus": b}
                for a, b in (("s", "1"), ("1", "2"), ("2", "3"))
            ],
            "units": [
                {"unit": "dc1", "kind": "datacenter", "bus": "3", "phase": "abc"},
                {"unit": "dc2", "kind": "datacenter", "bus": "1", "phase": "ab"},
                {"unit": "dg", "kind": "dispatchable", "bus": "2", "phase": "abc"},
                {"unit": "svg", "kind": "svg", "bus": "3", "phase": "abc"},
            ],
        }
    )


def make_record(tables: Tables, mode: str = "decentralized") -> Record:
    """A record that fits the tables."""
    return Record(
        run_id=f"{mode}-1-0",
        scenario="tiny",
        mode=mode,
        market="day_ahead",
        seed=1,
        limits=LIMITS,
        solver="piqp",
        versions={"python": "3", "cosim-grid": "0"},
        started="2024-01-01T00:00:00+00:00",
        wall_times_s={"simulation": 2.0},
        kpis=compute_kpis(tables, FACTS, LIMITS),
        notes=("limits were broken at the price cap in step 2",),
        certificate={"passed": True, "errors": {"cost": 1e-9}, "duals": list(range(20))},
    )


@pytest.fixture
def rows() -> Rows:
    return make_rows()


@pytest.fixture(scope="session")
def tables() -> Tables:
    return Tables.from_rows(make_rows())


@pytest.fixture(scope="session")
def layout() -> Layout:
    return make_layout()


@pytest.fixture
def record(tables: Tables) -> Record:
    return make_record(tables)


def save_run(folder: Path, tables: Tables, layout: Layout, mode: str = "decentralized") -> Path:
    """A finished run in a folder, without figures and report."""
    record = make_record(tables, mode)
    with RunFolder(folder, record, SCENARIO_TEXT) as place:
        tables.write(place.path)
        place.save(record, layout)
    return folder


@pytest.fixture
def run_folder(tmp_path: Path, tables: Tables, layout: Layout) -> Path:
    return save_run(tmp_path / "run", tables, layout)
