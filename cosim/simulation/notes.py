"""What a reader of a run should know, from its tables: limits broken, prices beyond the cap, where AC differs."""

from __future__ import annotations

from cosim.results.ac_notes import ac_notes
from cosim.results.by_feeder import Limits, tables_by_feeder
from cosim.results.kpis import VIOLATION_TOLERANCE_PU
from cosim.results.price_notes import beyond_cap, payment_parts, surplus
from cosim.results.record import VoltageLimits
from cosim.results.tables import Tables
from cosim.scenario.preparation import Prepared, PreparedFeeder

SLACK_TOLERANCE_KWH = 1e-3
LATE_TOLERANCE_MWH = 1e-6
_LISTED_VIOLATIONS = 8


def run_notes(prepared: Prepared, tables: Tables, limits: Limits) -> list[str]:
    """Slack used, price notes, AC violations one by one, feeder by feeder; then work that was late."""
    notes = []
    parts = tables_by_feeder(tables, limits)
    for feeder in prepared.feeders:
        told = _feeder_notes(feeder, *parts[feeder.name])
        notes += [f"{feeder.name}: {note}" if feeder.name else note for note in told]
    work = tables.work
    late = work["late_mwh"].max() if len(work) else 0.0
    if late > LATE_TOLERANCE_MWH:
        notes.append(f"work was late: up to {late:.3f} MWh of a class at a site")
    return notes


def _feeder_notes(prepared: PreparedFeeder, tables: Tables, limits: VoltageLimits) -> list[str]:
    """Notes on one feeder."""
    notes = []
    steps = tables.steps
    v = tables.only("voltages", "step", "bus", "phase", "v_ac_pu")
    slack = steps.loc[steps["slack_kwh"] > SLACK_TOLERANCE_KWH]
    if len(slack):
        listed = ", ".join(map(str, slack["step"]))
        chance = prepared.scenario.network.chance
        kept = "" if chance is None else f" less their margins for probability {chance.probability:g}"
        kwh = slack["slack_kwh"].sum()
        notes.append(f"limits{kept} were broken at the price cap in steps {listed} ({kwh:.1f} kWh)")
    notes += _price_notes(prepared, tables)
    low, high = limits.at(v["bus"])
    low, high = low - VIOLATION_TOLERANCE_PU, high + VIOLATION_TOLERANCE_PU
    broken = v[(v["v_ac_pu"] < low) | (v["v_ac_pu"] > high)]
    if len(broken):
        beyond = limits.beyond(broken["bus"], broken["v_ac_pu"])
        worst = broken.assign(by=beyond).sort_values("by", ascending=False, kind="stable").head(_LISTED_VIOLATIONS)
        listed = "; ".join(
            f"step {row.step} bus {row.bus} {row.phase} {row.v_ac_pu:.4f} pu" for row in worst.itertuples()
        )
        rest = f"; and {len(broken) - len(worst)} more" if len(broken) > len(worst) else ""
        notes.append(f"{len(broken)} AC voltages beyond their limits: {listed}{rest}")
    network = prepared.scenario.network
    return notes + ac_notes(tables, lindist3flow=network.model == "lindist3flow" and network.ac_rounds == 0)


def _price_notes(prepared: PreparedFeeder, tables: Tables) -> list[str]:
    """Where prices leave the cap of broken limits, and what data centers pay for limits."""
    scenario = prepared.scenario
    parts = payment_parts(
        tables,
        {d.name: d.bus for d in scenario.datacenters},
        prepared.calendar.step_hours,
        scenario.market.settlement == "active+reactive",
    )
    cap = scenario.network.price_cap_usd_per_mwh
    return beyond_cap(tables, cap, scenario.market.price_cap_usd_per_mwh) + surplus(tables, parts, cap)
