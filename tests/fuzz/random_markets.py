"""Random markets on the IEEE 37-node feeder, as overrides of the shipped scenario."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

MODES = ("uncoordinated", "decentralized", "welfare", "centralized")
RULES = ("admm", "best_response", "bundle", "proximal", "tariff", "anticipating", "averaged")
BUSES = ("710", "718", "724", "730", "735", "736", "740", "742")


@dataclass(frozen=True)
class RandomMarket:
    """A scenario on ``ieee37`` as overrides."""

    mode: str
    overrides: dict[str, Any]


def random_market(seed: int) -> RandomMarket:
    """The scenario of a seed: modes in turn, everything else at random."""
    rng = np.random.default_rng([17, seed])
    mode = MODES[seed % len(MODES)]
    steps = int(rng.integers(2, 6))
    loaded = bool(rng.random() < 0.6)
    overrides: dict[str, Any] = {
        "mode": mode,
        "seed": seed,
        "clock.steps": steps,
        "clock.step_s": int(rng.choice([1800, 3600])),
        "clock.market": str(rng.choice(["day_ahead", "rolling"])),
        "clock.window_steps": int(rng.integers(1, steps + 1)),
        "clock.gate_s": 1800,
        "network.losses": bool(rng.random() < 0.5),
        "network.v_min_pu": round(float(rng.uniform(0.94, 0.975)), 4),
        "network.load_scale": {"values": (rng.uniform(0.4, 1.1, steps) if loaded else np.zeros(steps)).tolist()},
        "market.price_usd_per_mwh": {"values": rng.uniform(-80.0, 140.0, steps).tolist()},
        "market.slope_usd_per_mwh_per_mw": float(rng.choice([0.0, 20.0])),
        "market.settlement": str(rng.choice(["active", "active+reactive"])),
        "remove": ["generators", "datacenters", "workload.classes"],
        "generators": _generators(rng),
        "datacenters": _sites(rng),
        "workload.utilisation": {"values": rng.uniform(0.2, 0.7, steps).tolist()},
        "workload.classes": _classes(rng),
        "decentralized.rule": str(rng.choice(RULES)),
        "decentralized.max_rounds": 30,
        "centralized.time_limit_s": 20.0,
        "channel": _channel(rng),
    }
    if overrides["decentralized.rule"] == "bundle":  # which settles both together
        overrides["market.settlement"] = "active+reactive"
    if rng.random() < 0.2:
        overrides |= {"market.price_floor_usd_per_mwh": -20.0, "market.price_cap_usd_per_mwh": 100.0}
    return RandomMarket(mode, overrides)


def _generators(rng: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {
            "name": f"dg{i}", "bus": str(bus), "p_max_kw": float(rng.uniform(50, 400)), "s_kva": 450.0,
            "cost_usd_per_mwh": float(rng.uniform(10, 90)), "cost_usd_per_mw2h": float(rng.uniform(10, 50)),
        }
        for i, bus in enumerate(rng.choice(["705", "712", "720", "728", "744"], rng.integers(0, 4), replace=False))
    ]  # fmt: skip


def _sites(rng: np.random.Generator) -> list[dict[str, Any]]:
    sites = []
    for i, bus in enumerate(rng.choice(BUSES, rng.integers(1, 4), replace=False)):
        site: dict[str, Any] = {
            "name": f"dc{i}", "bus": str(bus), "it_idle_kw": 60.0, "it_peak_kw": float(rng.uniform(200, 900)),
            "pue": float(rng.uniform(1.05, 1.5)), "power_factor": float(rng.uniform(0.9, 1.0)),
            "connection": str(rng.choice(["three_phase", "per_phase", "ab"], p=[0.6, 0.3, 0.1])),
        }  # fmt: skip
        if rng.random() < 0.6:
            site["battery"] = {
                "energy_kwh": float(rng.uniform(50, 400)), "power_kw": float(rng.uniform(20, 200)),
                "efficiency": float(rng.uniform(0.7, 0.98)), "reserve": 0.3,
                "initial": float(rng.uniform(0.3, 1.0)), "wear_usd_per_mwh": float(rng.choice([0.0, 15.0])),
            }  # fmt: skip
        sites.append(site)
    return sites


def _classes(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Classes that may wait; moving is free, so that own cost can be told from the tables alone."""
    share = float(rng.uniform(0.2, 0.8))
    return [
        {"name": "interactive", "share": share},
        {"name": "movable", "share": 0.0},
        {"name": "batch", "share": 1.0 - share, "movable": bool(rng.random() < 0.5), "max_delay_steps": 2,
         "delay_cost_usd_per_mwh_h": float(rng.choice([0.0, 1.5])), "migration_cost_usd_per_mwh": 0.0},
    ]  # fmt: skip


def _channel(rng: np.random.Generator) -> dict[str, Any]:
    channel: dict[str, Any] = {"latency": {"kind": "uniform", "low_s": 0.0, "high_s": float(rng.uniform(0.1, 4.0))}}
    if rng.random() < 0.5:
        channel |= {"loss": float(rng.uniform(0, 0.3)), "duplicate": float(rng.uniform(0, 0.3))}
    if rng.random() < 0.2:
        start = float(rng.uniform(0, 1800))
        channel["outages"] = [{"agent": "dca", "from_s": start, "to_s": start + float(rng.uniform(10, 1500))}]
    return channel
