"""The table of limits: its rows, and the worst of them in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.results.columns import Columns

PRICE_UNITS = {
    "pu": "USD/(pu h)", "kVA": "USD/MVAh", "%": "USD/(% h)", "kW": "USD/MWh", "kvar": "USD/Mvarh",
}  # fmt: skip
"""Unit of the shadow price of a limit in this unit."""
_THOUSANDS = ("kVA", "kW", "kvar")
NAMES = {
    "voltage_low": "lowest voltage", "voltage_high": "highest voltage", "rating": "rating", "vuf": "VUF",
    "pvur": "PVUR", "unit_rating": "rating of unit", "unit_p_max": "most P of unit", "unit_p_min": "least P of unit",
    "unit_q_max": "most Q of unit", "unit_q_min": "least Q of unit",
}  # fmt: skip


def row_columns(
    t: int, source: str, kinds: Sequence[str], elements: Sequence[str], phases: Sequence[str],
    value: NDArray[np.float64], limit: NDArray[np.float64], beyond: NDArray[np.float64], broken: NDArray[np.bool_],
    units: Sequence[str], price: NDArray[np.float64],
) -> Columns:  # fmt: skip
    """Rows of the table of limits, but for what the base case says.

    Args:
        source: ``linear`` or ``ac``. beyond: how far the value is beyond the limit, below 0 within.
        price: shadow prices; nan where there is none.
    """
    if not len(kinds):
        return {}
    return {
        "step": t, "kind": list(kinds), "element": list(elements), "phase": list(phases), "source": source,
        "status": np.where(broken, "broken", "binding").tolist(), "value": value, "limit": limit, "beyond": beyond,
        "beyond_pct": 100 * beyond / np.abs(limit), "unit": list(units), "shadow_price": price,
        "price_unit": [PRICE_UNITS[unit] for unit in units],
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class WorstLimit:
    """A limit over all steps.

    Attributes:
        name: what it limits, where. broken_steps, binding_steps: in how many steps, of either solution.
        told: the worst of it in words. base: in how many of these steps it is broken in the feeder alone.
    """

    name: str
    broken_steps: int
    binding_steps: int
    told: str
    base: int


def worst_limits(limits: pd.DataFrame, hours: float, most: int = 5) -> list[WorstLimit]:
    """The worst limits of a run: first those that are broken, by how far (share of the limit) at the worst; then those
    that bind, by what loosening them by one per cent would save over the run.

    Args:
        limits: the table. hours: length of a step.
    """
    if not len(limits):
        return []
    key = [c for c in ("feeder", "kind", "element") if c in limits]
    share = hours / 100 * np.where(limits["unit"].isin(_THOUSANDS), 1e-3, 1.0)  # of a limit in the unit of its price
    price, limit = (limits[c].to_numpy(dtype=float) for c in ("shadow_price", "limit"))
    worth = np.nan_to_num(price) * np.abs(limit) * share
    broken = limits["status"].eq("broken")
    rows = limits.assign(worth=worth, excess=limits["beyond_pct"].where(broken, 0.0))
    grouped = rows.groupby(key, sort=True)
    order = pd.DataFrame({"excess": grouped["excess"].max(), "worth": grouped["worth"].sum()})
    order = order.sort_values(["excess", "worth"], ascending=False, kind="stable").head(most)
    return [_worst(dict(zip(key, names, strict=True)), grouped.get_group(names)) for names in order.index]


def _worst(names: dict[str, str], rows: pd.DataFrame) -> WorstLimit:
    name = f"{NAMES.get(names['kind'], names['kind'].replace('_', ' '))} {names['element']}"
    if "feeder" in names:
        name = f"{names['feeder']}: {name}"
    unit, price_unit = rows["unit"].iloc[0], rows["price_unit"].iloc[0]
    broken = rows[rows["status"] == "broken"]
    binding = set(rows.loc[rows["status"] == "binding", "step"]) - set(broken["step"])
    told = []
    if len(broken):
        worst = broken.iloc[int(broken["beyond_pct"].to_numpy().argmax())]
        model = "AC" if worst["source"] == "ac" else "linear network"
        told.append(
            f"{worst['value']:.5g} {unit} against {worst['limit']:.5g} {unit} ({worst['beyond_pct']:.3g} % beyond; "
            f"{_when(worst)}, {model})"
        )
    price = rows["shadow_price"].fillna(0.0).to_numpy()
    if price.max() > 0:
        dear = rows.iloc[int(price.argmax())]
        told.append(f"shadow price up to {dear['shadow_price']:.4g} {price_unit} ({_when(dear)})")
    alone = len(set(rows.loc[rows["in_base_case"] == "yes", "step"]))
    return WorstLimit(name, broken["step"].nunique(), len(binding), "; ".join(told), alone)


def _when(row: pd.Series) -> str:
    return f"step {row['step']}" + ("" if row["phase"] == "abc" else f", {row['phase']}")


def summary_rows(limits: pd.DataFrame, hours: float) -> list[tuple[str, str, str]]:
    """The worst limits for a terminal or a page: name, in how many steps, and the worst of it."""
    return [(w.name, _steps(w), w.told) for w in worst_limits(limits, hours)]


def _steps(w: WorstLimit) -> str:
    counts = ((w.broken_steps, "broken in"), (w.binding_steps, "binds in"))
    told = ", ".join(f"{what} {n} step{'s' if n > 1 else ''}" for n, what in counts if n)
    return f"{told}; {w.base} of them without any data center" if w.base else told
