"""Key figures of a run, each with its unit, from the tables and from what the tables cannot say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from cosim.constants import KILO
from cosim.grid.feeder.limits import VOLTAGE_TOLERANCE_PU
from cosim.results.ac_notes import relative_import_excess
from cosim.results.by_feeder import Limits, tables_by_feeder
from cosim.results.record import Kpi, VoltageLimits
from cosim.results.tables import Tables

VIOLATION_TOLERANCE_PU = VOLTAGE_TOLERANCE_PU
LIMITED_KW = 1e-3
"""Power beyond a limit from which a site counts as limited."""

Group = Literal["cost", "energy", "voltage", "price", "negotiation", "solution"]


@dataclass(frozen=True, slots=True)
class Measure:
    """What a key figure is: unit, a plain description, how it is written, and what it belongs to."""

    unit: str
    label: str
    form: str
    group: Group


MEASURES: dict[str, Measure] = {
    "dca_payment_usd": Measure("USD", "Payment of the data centers to the operator", ",.2f", "cost"),
    "day_ahead_payment_usd": Measure("USD", "Of it for what was agreed on day ahead", ",.2f", "cost"),
    "deviation_payment_usd": Measure("USD", "Of it for what is drawn beside that in real time", ",.2f", "cost"),
    "dca_cost_usd": Measure(
        "USD", "Cost of the data centers: payment, delay, migration, battery wear", ",.2f", "cost"
    ),
    "dso_cost_usd": Measure("USD", "Cost of the operator: energy, generation, penalties", ",.2f", "cost"),
    "social_cost_usd": Measure(
        "USD", "Social cost: operator's cost and data centers' own cost", ",.2f", "cost"
    ),
    "welfare_gap": Measure("1", "Social cost above the welfare optimum, relative", ".3g", "cost"),
    "perfect_social_cost_usd": Measure("USD", "Social cost if everything had been known beforehand", ",.2f", "cost"),
    "value_of_information_usd": Measure("USD", "Social cost above that with perfect forecasts", ",.2f", "cost"),
    "value_of_information_dca_usd": Measure(
        "USD", "Cost of the data centers above that with perfect forecasts", ",.2f", "cost"
    ),
    "expected_cost_usd": Measure("USD", "Expected social cost of the planner over scenarios", ",.2f", "cost"),
    "value_of_stochastic_solution_usd": Measure(
        "USD", "Expected cost of the position that is best on forecasts, above that over scenarios", ",.4f", "cost"
    ),
    "value_of_perfect_information_usd": Measure(
        "USD", "Expected cost over scenarios above that with each known beforehand", ",.4f", "cost"
    ),
    "dca_regret_usd": Measure(
        "USD", "What the data centers could still gain at the final price", ".3g", "cost"
    ),
    "dso_regret_usd": Measure("USD", "What the operator could still gain at the final price", ".3g", "cost"),
    "energy_mwh": Measure("MWh", "Energy drawn by the data centers", ",.3f", "energy"),
    "deviation_mwh": Measure("MWh", "Energy drawn beyond and short of what was agreed on day ahead", ",.3f", "energy"),
    "unserved_mwh": Measure("MWh", "Computing work not done at the end", ",.4f", "energy"),
    "slack_mwh": Measure("MWh", "Broken limits, as energy at the price cap", ",.4f", "energy"),
    "limited_h": Measure("h", "Hours of sites whose limit is below what work on arrival would draw", ",.2f", "energy"),
    "limited_mwh": Measure("MWh", "What work on arrival would draw beyond limits", ",.3f", "energy"),
    "v_min_pu": Measure("pu", "Lowest voltage, linear model", ",.4f", "voltage"),
    "v_max_pu": Measure("pu", "Highest voltage, linear model", ",.4f", "voltage"),
    "ac_v_min_pu": Measure("pu", "Lowest voltage, AC power flow", ",.4f", "voltage"),
    "ac_v_max_pu": Measure("pu", "Highest voltage, AC power flow", ",.4f", "voltage"),
    "ac_error_max_pu": Measure("pu", "Largest difference between linear and AC voltage", ".3g", "voltage"),
    "ac_import_excess": Measure("1", "Cost of the AC import above the cleared import, relative", ".3g", "voltage"),
    "violations_linear": Measure("count", "Voltage limits broken, linear model", ",.0f", "voltage"),
    "violations_ac": Measure("count", "Voltage limits broken, AC power flow", ",.0f", "voltage"),
    "vuf_max_pct": Measure("%", "Largest voltage unbalance factor (VUF, IEC)", ",.3f", "voltage"),
    "lvur_max_pct": Measure("%", "Largest line voltage unbalance rate (LVUR, NEMA)", ",.3f", "voltage"),
    "pvur_max_pct": Measure("%", "Largest phase voltage unbalance rate (PVUR, IEEE)", ",.3f", "voltage"),
    "dlmp_min_usd_per_mwh": Measure("USD/MWh", "Lowest locational price", ",.2f", "price"),
    "dlmp_max_usd_per_mwh": Measure("USD/MWh", "Highest locational price", ",.2f", "price"),
    "rounds_median": Measure("count", "Rounds of negotiation, median over the steps", ",.0f", "negotiation"),
    "converged_share": Measure("1", "Share of steps that ended in agreement", ",.3f", "negotiation"),
    "messages_sent": Measure("count", "Messages sent", ",.0f", "negotiation"),
    "messages_lost": Measure("count", "Messages that never arrived", ",.0f", "negotiation"),
    "mip_gap": Measure("1", "Gap between the solution and its proven bound, relative", ".3g", "solution"),
    "wall_s": Measure("s", "Wall time of the run", ",.2f", "solution"),
    "solver_s": Measure("s", "Wall time in solvers", ",.2f", "solution"),
}


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the tables cannot say.

    Attributes:
        step_hours: length of a market step in hours.
        welfare_usd: least social cost over the same steps; None where no such optimum was found.
        mip_gap: largest relative gap between a solution and its proven bound; None without a bound.
        dca_regret_usd: what the data centers could still gain at the final price; None without a negotiation.
        dso_regret_usd: the same for the operator.
        perfect_usd: (social cost, cost of the data centers) of the same run with perfect forecasts; None where nobody
            asked for it.
        expected_usd: (expected cost, value of the stochastic solution, of perfect information); likewise.
        wall_s: wall time of the run; solver_s: of it in solvers.
    """

    step_hours: float
    welfare_usd: float | None = None
    perfect_usd: tuple[float, float] | None = None
    expected_usd: tuple[float, float, float] | None = None
    mip_gap: float | None = None
    dca_regret_usd: float | None = None
    dso_regret_usd: float | None = None
    wall_s: float | None = None
    solver_s: float | None = None


def compute_kpis(
    tables: Tables, facts: RunFacts, limits: Limits, tolerance_pu: float = VIOLATION_TOLERANCE_PU
) -> dict[str, Kpi]:
    """All key figures, in the order of ``MEASURES``; None where one does not apply. Those of limits of connections, and
    of two settlements, are there only where there are such.

    Args:
        tolerance_pu: how far beyond a limit a voltage may be without being counted as a violation.
    """
    values = {
        **_costs(tables, facts),
        **_energy(tables, facts),
        **_voltages(tables, limits, tolerance_pu),
        **_prices(tables.only("prices", "dlmp_p")["dlmp_p"]),
        **_negotiation(tables),
        **_limited(tables.envelopes, facts.step_hours),
        **_deviations(tables.deviations, facts.step_hours),
        "mip_gap": facts.mip_gap,
        "wall_s": facts.wall_s,
        "solver_s": facts.solver_s,
    }
    return {name: Kpi(values[name], measure.unit) for name, measure in MEASURES.items() if name in values}


def limited(envelopes: pd.DataFrame, hours: float) -> tuple[float, float]:
    """Hours (of all sites) and energy (MWh) by which limits are below what would be drawn if work ran on arrival."""
    beyond = (envelopes["wanted_kw"] - envelopes["limit_kw"]).clip(lower=0.0)
    return hours * float((beyond > LIMITED_KW).sum()), hours * float(beyond.sum()) / KILO


def _limited(envelopes: pd.DataFrame, hours: float) -> dict[str, float | None]:
    """How long limits of connections are below what would be drawn on arrival, and by how much energy."""
    if envelopes.empty:
        return {}
    return {f"limited_{unit}": value for unit, value in zip(("h", "mwh"), limited(envelopes, hours), strict=True)}


def _deviations(deviations: pd.DataFrame, hours: float) -> dict[str, float | None]:
    """What is paid in each of two settlements, and how far what is drawn is from what was agreed on."""
    if deviations.empty:
        return {}
    paid = {name: float(deviations[name].sum()) for name in ("day_ahead_payment_usd", "deviation_payment_usd")}
    return {**paid, "deviation_mwh": hours * float(deviations["deviation_kw"].abs().sum()) / KILO}


def _costs(tables: Tables, facts: RunFacts) -> dict[str, float | None]:
    steps = tables.steps
    payment, social = float(steps["dca_payment_usd"].sum()), float(steps["social_cost_usd"].sum())
    gap = None
    if facts.welfare_usd is not None and facts.welfare_usd != 0:
        gap = (social - facts.welfare_usd) / abs(facts.welfare_usd)
    dca = payment + float(steps["dca_own_cost_usd"].sum())
    perfect: dict[str, float | None] = {}
    if facts.perfect_usd is not None:
        perfect = {
            "perfect_social_cost_usd": facts.perfect_usd[0],
            "value_of_information_usd": social - facts.perfect_usd[0],
            "value_of_information_dca_usd": dca - facts.perfect_usd[1],
        }
    if facts.expected_usd is not None:
        told = ("expected_cost_usd", "value_of_stochastic_solution_usd", "value_of_perfect_information_usd")
        perfect |= zip(told, facts.expected_usd, strict=True)
    return {
        **perfect,
        "dca_payment_usd": payment,
        "dca_cost_usd": dca,
        "dso_cost_usd": float(steps["dso_cost_usd"].sum()),
        "social_cost_usd": social,
        "welfare_gap": gap,
        "dca_regret_usd": facts.dca_regret_usd,
        "dso_regret_usd": facts.dso_regret_usd,
    }


def _energy(tables: Tables, facts: RunFacts) -> dict[str, float | None]:
    work = tables.work
    return {
        "energy_mwh": float(tables.demand["p_kw"].sum()) * facts.step_hours / KILO,
        "unserved_mwh": max(0.0, float(work["arrived_mwh"].sum() - work["served_mwh"].sum())),
        "slack_mwh": float(tables.steps["slack_kwh"].sum()) / KILO,
    }


def _prices(price: pd.Series) -> dict[str, float | None]:
    return {"dlmp_min_usd_per_mwh": _extreme(price, "min"), "dlmp_max_usd_per_mwh": _extreme(price, "max")}


def _voltages(tables: Tables, limits: Limits, tolerance_pu: float) -> dict[str, float | int | None]:
    voltages, unbalance = tables.only("voltages", "v_pu", "v_ac_pu"), tables.unbalance
    linear, ac = voltages["v_pu"], voltages["v_ac_pu"]
    return {
        "v_min_pu": _extreme(linear, "min"),
        "v_max_pu": _extreme(linear, "max"),
        "ac_v_min_pu": _extreme(ac, "min"),
        "ac_v_max_pu": _extreme(ac, "max"),
        "ac_error_max_pu": _extreme((linear - ac).abs(), "max"),
        "ac_import_excess": relative_import_excess(tables.steps if tables.feeders.empty else tables.feeders),
        "violations_linear": _all_violations(tables, "v_pu", limits, tolerance_pu),
        "violations_ac": _all_violations(tables, "v_ac_pu", limits, tolerance_pu),
        "vuf_max_pct": _extreme(unbalance["vuf_pct"], "max"),
        "lvur_max_pct": _extreme(unbalance["lvur_pct"], "max"),
        "pvur_max_pct": _extreme(unbalance["pvur_pct"], "max"),
    }


def _negotiation(tables: Tables) -> dict[str, float | int | None]:
    steps, messages = tables.steps, tables.messages
    return {
        "rounds_median": None if steps.empty else float(steps["rounds"].median()),
        "converged_share": None if steps.empty else float(steps["converged"].mean()),
        "messages_sent": len(messages),
        "messages_lost": int(messages["received"].isna().sum()),
    }


def _extreme(values: pd.Series, which: Literal["min", "max"]) -> float | None:
    """Least or greatest value; None if there is none."""
    found = values.to_numpy(dtype=float)
    found = found[~np.isnan(found)]
    if not found.size:
        return None
    return float(found.min() if which == "min" else found.max())


def _all_violations(tables: Tables, column: str, limits: Limits, tolerance_pu: float) -> int | None:
    """How many voltages of all feeders are beyond a limit; None if there are no voltages."""
    found = [
        _violations(part.only("voltages", *(("bus", column) if own.buses else (column,))), column, own, tolerance_pu)
        for part, own in tables_by_feeder(tables, limits).values()
    ]
    known = [count for count in found if count is not None]
    return sum(known) if known else None


def _violations(voltages: pd.DataFrame, column: str, limits: VoltageLimits, tolerance_pu: float) -> int | None:
    """How many voltages (bus, phase, step) are beyond a limit; None if there are no voltages."""
    values = voltages[column]
    if values.notna().sum() == 0:
        return None
    low, high = limits.at(voltages["bus"]) if limits.buses else (limits.v_min_pu, limits.v_max_pu)
    return int(((values < low - tolerance_pu) | (values > high + tolerance_pu)).sum())


def shown(name: str, value: float | int | None) -> str:
    """A key figure's value as text; a dash where it does not apply, and never zero for what is not zero."""
    if value is None or math.isnan(value):
        return "–"
    form = MEASURES[name].form if name in MEASURES else ".4g"
    text = format(value, form)
    if abs(value) >= 1e-9 and not any(digit in text for digit in "123456789"):
        return f"{value:.1e}"
    return text.removeprefix("-") if not any(digit in text for digit in "123456789") else text


def values_of(kpis: Mapping[str, Kpi]) -> dict[str, float | int | None]:
    """Key figures as plain values."""
    return {name: kpi.value for name, kpi in kpis.items()}
