"""Runs of different modes side by side: one table, and what can only be said across modes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from cosim.errors import InputError
from cosim.results.folders import COMPARISON_FILE
from cosim.results.kpis import MEASURES
from cosim.results.record import Kpi, Record

_AGAINST_WELFARE = {
    "uncoordinated": "Lost without coordination",
    "decentralized": "Welfare gap of the negotiation",
    "centralized": "Price of anarchy (leader and follower)",
}
_SAME = 1e-9
_CENT = 0.005


def comparison_table(records: Mapping[str, Record]) -> pd.DataFrame:
    """Key figures of runs: one row per mode (the index, in the order given), status, one column per figure.

    A failed run has a row without figures. Units are part of the columns' names.
    """
    known = [k for k in MEASURES if any(k in r.kpis for r in records.values())]
    further = sorted({k for r in records.values() for k in r.kpis} - set(known))
    missing = Kpi(None, "")
    rows = {
        mode: {"status": r.status, **{k: r.kpis.get(k, missing).value for k in known + further}}
        for mode, r in records.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["status", *known, *further])
    for column in known + further:
        table[column] = table[column].astype("float64")
    return table.rename_axis("mode")


def write_comparison(records: Mapping[str, Record], folder: Path) -> pd.DataFrame:
    """Write ``comparison.csv`` and return the table."""
    table = comparison_table(records)
    table.to_csv(folder / COMPARISON_FILE, lineterminator="\n")
    return table


def read_comparison(folder: Path) -> dict[str, Record]:
    """Records of the runs of a comparison, in the order of its table.

    Raises:
        InputError: no comparison in this folder, or one of its runs is missing.
    """
    path = folder / COMPARISON_FILE
    try:
        modes = pd.read_csv(path, usecols=["mode"], dtype=str)["mode"]
    except FileNotFoundError:
        raise InputError("no comparison in this folder", file=path) from None
    except (OSError, ValueError) as error:
        raise InputError(f"not the table of a comparison ({error})", file=path) from None
    for mode in modes:
        if not isinstance(mode, str) or mode in ("", ".", "..") or "\\" in mode or Path(mode).name != mode:
            raise InputError("a mode whose name is not that of a folder beside the table", file=path, key="mode",
                             value=mode, allowed="names without slashes")  # fmt: skip
    return {mode: Record.read(folder / mode) for mode in modes}


def findings(records: Mapping[str, Record]) -> list[tuple[str, str]]:
    """What only a comparison can say: (name, sentence), left out where a mode it needs is missing.

    Efficiency is lost between the welfare optimum and another mode; market power shows as the strategic gain. Where a
    mode is compared several times, with other settings, the sentence names which of them it is about. Runs without data
    centers are another problem and are left out.
    """
    finished = {name: r for name, r in records.items() if r.status == "ok" and _draws(r)}
    value = {_as_mode(name, finished): {k: v.value for k, v in r.kpis.items()} for name, r in finished.items()}
    kind = {_as_mode(name, finished): r.mode for name, r in finished.items()}
    found: list[tuple[str, str]] = []
    best = _number(value, "welfare", "social_cost_usd")
    for mode, name in _AGAINST_WELFARE.items():
        for label in (x for x in value if kind[x] == mode):
            cost = _number(value, label, "social_cost_usd")
            if best and cost is not None:
                told = name if label == mode else f"Above the welfare optimum: {label}"
                found.append((told, _against(best, cost) + f"; ratio {cost / best:.6f}"))
    negotiated, led = (_number(value, m, "dca_cost_usd") for m in ("decentralized", "centralized"))
    if negotiated is not None and led is not None:
        gain = negotiated - led
        relative = f" ({_share(gain / abs(negotiated))})" if negotiated else ""
        text = f"{gain:,.4g} USD{relative}" if abs(gain) >= _CENT else "less than a cent"
        text += ": their cost in the negotiation less their cost as the leader"
        open_usd = abs(led) * (_number(value, "centralized", "mip_gap") or 0.0)
        if open_usd > max(gain, _CENT):
            text += f"; the leader's optimum is only known to within {open_usd:,.3g} USD"
        found.append(("Strategic gain of the data centers", text))
    regrets = [_number(value, "decentralized", k) for k in ("dca_regret_usd", "dso_regret_usd")]
    if regrets[0] is not None and regrets[1] is not None:
        found.append((
            "Equilibrium gap of the negotiation",
            f"{regrets[0] + regrets[1]:.3g} USD: regret of the data centers {regrets[0]:.3g}, "
            f"of the operator {regrets[1]:.3g}",
        ))  # fmt: skip
    return found


def _draws(record: Record) -> bool:
    """Whether data centers draw anything, as far as is known."""
    drawn = record.kpis.get("energy_mwh")
    return drawn is None or drawn.value != 0


def _as_mode(name: str, records: Mapping[str, Record]) -> str:
    """The mode of a run, if no other run has or bears the name of that mode; else the run's name."""
    mode = records[name].mode
    return mode if all(other == name or mode not in (other, r.mode) for other, r in records.items()) else name


def _against(best: float, cost: float) -> str:
    """A social cost against the least one, in words."""
    share = (cost - best) / abs(best)
    if abs(share) < _SAME:
        return f"social cost equals the welfare optimum to {_SAME:g}"
    return f"social cost is {cost - best:,.4g} USD ({_share(share)}) above the welfare optimum"


def _number(value: Mapping[str, Mapping[str, float | int | None]], mode: str, kpi: str) -> float | None:
    return value.get(mode, {}).get(kpi)


def _share(share: float) -> str:
    percent = 100 * share
    return f"{percent:.3f} %" if abs(percent) >= 5e-4 or percent == 0 else f"{percent:.1e} %"
