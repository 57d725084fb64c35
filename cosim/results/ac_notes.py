"""What a reader of a run must know about the linear model: where AC power flow says something else."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cosim.errors import listed
from cosim.results.price_notes import RENT, parts_in
from cosim.results.tables import Tables

APART_PU = 1e-3
"""Difference between a linear and an AC voltage that a run speaks of."""
DEARER = 1e-3
"""Relative cost of the AC import above the cleared one that a run speaks of."""
BINDING_USD_PER_MWH = 1e-3
"""Least part of a price that says that a limit binds."""
_LISTED = 8


def import_excess(steps: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Cost of the AC import above that of the cleared one at the price at the source, and the latter's size.

    Returns:
        Two numbers for each row of ``steps``, in USD per hour; the slope of the price is left out.
    """
    price = steps["price_sub_usd_per_mwh"] / 1000.0
    return price * (steps["p_sub_ac_kw"] - steps["p_sub_kw"]), (price * steps["p_sub_kw"]).abs()


def relative_import_excess(steps: pd.DataFrame) -> float | None:
    """Cost of the AC import above that of the cleared one over all steps, relative; None without any."""
    more, cleared = import_excess(steps)
    return float(more.sum() / cleared.sum()) if cleared.sum() > 0 else None


def ac_notes(tables: Tables, lindist3flow: bool) -> list[str]:
    """Where voltages or the import differ from AC power flow by more than a little, and what prices are then.

    Args:
        lindist3flow: whether prices are those of the LinDist3Flow model.
    """
    notes = []
    v = tables.only("voltages", "step", "bus", "phase", "v_pu", "v_ac_pu")
    v = v.assign(apart=(v["v_pu"] - v["v_ac_pu"]).abs())
    apart = v[v["apart"] > APART_PU]
    if len(apart):
        worst = apart.sort_values("apart", kind="stable").iloc[-1]
        notes.append(
            f"linear and AC voltages differ by up to {worst['apart']:.4f} pu (step {worst['step']}, bus {worst['bus']} "
            f"{worst['phase']}) in steps {_listed(apart['step'])}: voltages and prices are those of another point; "
            "network.ac_rounds linearises anew at what is delivered"
        )
    more, cleared = import_excess(tables.steps)
    dearer = tables.steps[more > DEARER * cleared]
    if len(dearer):
        share = 100 * float((more / cleared)[dearer.index].max())
        notes.append(
            f"in AC power flow the import costs up to {share:.2f} % more than was cleared, in steps "
            f"{_listed(dearer['step'])}"
        )
    if lindist3flow:
        rent = [part for part in parts_in(tables) if part in RENT]
        parts = tables.only("prices", "step", *rent)
        limited = parts[rent].abs().max(axis=1) > BINDING_USD_PER_MWH
        if limited.any():
            notes.append(
                f"limits bind in steps {_listed(parts.loc[limited, 'step'])}: prices of network.model lindist3flow "
                "leave out how voltage angles move and may be off by several percent there; ac-linear has the slopes "
                "of AC power flow"
            )
    return notes


def _listed(steps: pd.Series) -> str:
    """Numbers of steps, not too many of them."""
    return listed(np.unique(steps.to_numpy()).tolist(), _LISTED)
