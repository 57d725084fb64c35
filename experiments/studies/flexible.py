"""Study: limits, prices, or neither, where data centers want more than the feeder carries; who is limited and who pays.

python -m cosim.experiments.studies.flexible --out results/flexible
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosim.constants import KILO
from cosim.errors import RunFailure
from cosim.experiments.studies.common import (
    Findings,
    main,
    markdown_table,
    progress_bar,
    step_overrides,
    study_parser,
    write_findings,
)
from cosim.results.figures.style import COLOURS, GREY, LIMIT_COLOUR, new_figure, style
from cosim.results.folders import refuse_existing
from cosim.results.kpis import limited
from cosim.simulation.runner import Progress, RunResult, compare

SCENARIO = "ieee37_flexible"
RULES = ("max_sum", "equal", "proportional", "last_in_first_out")
CASES = {
    "uncoordinated": "uncoordinated",
    **{f"envelope_{rule}": f"envelope(rule={rule})" for rule in RULES},
    "decentralized": "decentralized",
    "welfare": "welfare",
}
NAMES = {"uncoordinated": "work on arrival", "decentralized": "negotiated prices", "welfare": "planner",
         **{f"envelope_{rule}": f"limits, {rule.replace('_', ' ')}" for rule in RULES}}  # fmt: skip
PARTS = {"paid_usd": "paid to the operator", "waiting_usd": "waiting, moving, late work", "backup_usd": "backup",
         "lost_usd": "dropped work"}  # fmt: skip
_FORMS = {
    "social_cost_usd": ",.0f", "above_welfare_pct": ".3g", "paid_usd": ",.0f", "own_usd": ",.0f",
    "operator_usd": ",.0f", "others_usd": ",.0f", "limited_h": ".0f", "limited_mwh": ".1f", "energy_mwh": ".1f",
    "backup_mwh": ".2f", "lost_mwh": ".2f", "broken": ".0f", "v_min_pu": ".4f",
    **{part: ",.0f" for part in PARTS},
}  # fmt: skip


def study(overrides: Mapping[str, Any], progress: Progress | None = None, scenario: str = SCENARIO) -> Findings:
    """Run all cases on the same hours.

    Raises:
        RunFailure: a case failed.
    """
    found = compare(scenario, CASES, overrides=overrides, progress=progress, figures=False)
    if found.failures:
        raise RunFailure("; ".join(f"{case}: {told}" for case, told in found.failures.items()))
    runs = {case: found.runs[case] for case in CASES}
    sites = pd.concat([_sites(case, run) for case, run in runs.items()], ignore_index=True)
    table = pd.DataFrame([_row(case, run, sites) for case, run in runs.items()])
    best = float(table.loc[table["case"] == "welfare", "social_cost_usd"].iloc[0])
    table.insert(2, "above_welfare_pct", 100 * (table["social_cost_usd"] / best - 1))
    with style():
        figures = {"who_pays": _cost_figure(sites, table), "limits": _limit_figure(runs)}
    captions = {
        "who_pays": "What each site pays the operator and bears itself, and social cost above the planner's.",
        "limits": "Limit of each site by rule (MW, mean over the hours of the run), above its firm part.",
    }
    return Findings({"comparison": table, "sites": sites}, figures, conclusion(table, sites), captions)


def _sites(case: str, run: RunResult) -> pd.DataFrame:
    """Of each site how far it is limited, what it draws, and what that costs it."""
    accounts, demand, work = run.tables.accounts, run.tables.demand, run.tables.work
    envelopes, hours = run.tables.envelopes, run.record.step_hours
    rows = []
    for site in sorted(set(demand["datacenter"])):
        mine, drawn = accounts[accounts["unit"] == site], demand[demand["datacenter"] == site]
        of_unit = {unit: accounts.loc[accounts["unit"] == f"{site}.{unit}", "own_cost_usd"].sum() for unit in
                   ("backup", "lost_work")}  # fmt: skip
        limited_h, limited_mwh = limited(envelopes[envelopes["datacenter"] == site], hours)
        rows.append({
            "case": case, "site": site, "limited_h": limited_h, "limited_mwh": limited_mwh,
            "energy_mwh": hours * drawn["p_kw"].sum() / KILO,
            "backup_mwh": hours * drawn["backup_kw"].sum() / KILO,
            "lost_mwh": work.loc[work["datacenter"] == site, "lost_mwh"].sum(),
            "paid_usd": (mine["paid_usd"] - mine["received_usd"]).sum(), "waiting_usd": mine["own_cost_usd"].sum(),
            "backup_usd": of_unit["backup"], "lost_usd": of_unit["lost_work"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def _row(case: str, run: RunResult, sites: pd.DataFrame) -> dict[str, Any]:
    """Of a case what it costs whom: net payments and own costs of sites, operator and all others (below 0: gains)."""
    mine, accounts = sites[sites["case"] == case], run.tables.accounts
    net = (accounts["paid_usd"] - accounts["received_usd"] + accounts["own_cost_usd"]).groupby(accounts["kind"]).sum()
    of_sites = ("datacenter", "backup", "lost_work", "aggregator")
    return {
        "case": case, "social_cost_usd": run.kpis["social_cost_usd"], "paid_usd": mine["paid_usd"].sum(),
        "own_usd": mine[["waiting_usd", "backup_usd", "lost_usd"]].sum().sum(),
        "operator_usd": net.get("operator", 0.0),
        "others_usd": net.drop([k for k in (*of_sites, "operator") if k in net.index]).sum(),
        "limited_h": mine["limited_h"].sum(), "limited_mwh": mine["limited_mwh"].sum(),
        "energy_mwh": mine["energy_mwh"].sum(), "backup_mwh": mine["backup_mwh"].sum(),
        "lost_mwh": mine["lost_mwh"].sum(), "broken": run.kpis["violations_ac"], "v_min_pu": run.kpis["ac_v_min_pu"],
    }  # fmt: skip


def _cost_figure(sites: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Bars that would dwarf all others end at the edge; each has its total beside it."""
    figure = new_figure(5.6, "Who pays (USD over the run)")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    places = sorted(set(sites["site"]))
    ordered = sites.set_index(["case", "site"])[list(PARTS)]
    totals = ordered.sum(axis=1)
    above = table.set_index("case")["above_welfare_pct"].clip(lower=0.0)
    edges = [1.2 * float(totals[totals.index.get_level_values("case") != "uncoordinated"].max()),
             1.3 * float(above.drop("uncoordinated").max())]  # fmt: skip
    labels, at = [], []
    for i, case in enumerate(CASES):
        for k, site in enumerate(places):
            y, base = i * (len(places) + 1) + k, 0.0
            for part, colour in zip(PARTS, (GREY, *COLOURS[:3]), strict=True):
                usd = float(ordered.loc[(case, site), part])
                left.barh(y, usd, left=base, color=colour, label=PARTS[part] if i + k == 0 else None)
                base += usd
            _told(left, base, y, f"{base:,.0f}", edges[0])
            labels.append(f"{NAMES[case]}: {site}" if k == 0 else site)
            at.append(y)
        middle = i * (len(places) + 1) + (len(places) - 1) / 2
        right.barh(middle, above[case], height=2.0, color=COLOURS[4])
        _told(right, float(above[case]), middle, f"{above[case]:.1f} %", edges[1])
    left.set_yticks(at, labels)
    left.invert_yaxis()
    for ax, edge, title in zip((left, right), edges, ("each site", "above the planner"), strict=True):
        ax.set(xlim=(0, edge), title=title)
        ax.grid(visible=False, axis="y")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _told(ax: Axes, value: float, y: float, text: str, edge: float) -> None:
    """The value of a bar beside its end, or inside where it goes beyond the edge."""
    inside = value > 0.9 * edge
    ax.annotate(text, (min(value, edge), y), (-4 if inside else 4, 0), textcoords="offset points", va="center",
                ha="right" if inside else "left", fontsize=8, color="white" if inside else "black")  # fmt: skip


def _limit_figure(runs: Mapping[str, RunResult]) -> Figure:
    figure = new_figure(3.4, "Limit of each site by rule (mean, kW)")
    ax = figure.subplots()
    means = {rule: runs[f"envelope_{rule}"].tables.envelopes.groupby("datacenter")[["firm_kw", "limit_kw"]].mean() for
             rule in RULES}  # fmt: skip
    sites = list(means[RULES[0]].index)
    for i, rule in enumerate(RULES):
        ax.bar(np.arange(len(sites)) + 0.2 * (i - 1.5), means[rule]["limit_kw"], width=0.18, color=COLOURS[i],
               label=rule.replace("_", " "))  # fmt: skip
    for k, firm in enumerate(means[RULES[0]]["firm_kw"]):
        ax.hlines(firm, k - 0.4, k + 0.4, color=LIMIT_COLOUR, linestyle="--", label="" if k else "firm part")
    ax.set_xticks(np.arange(len(sites)), sites)
    ax.set_ylabel("kW")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def conclusion(table: pd.DataFrame, sites: pd.DataFrame) -> str:
    """What the tables say, its numbers filled in from them."""
    by = table.set_index("case")
    rules = by.loc[[f"envelope_{rule}" for rule in RULES], "above_welfare_pct"]
    cheapest, dearest = str(rules.idxmin()), str(rules.idxmax())
    without, agreed = by.loc["uncoordinated"], by.loc["decentralized"]
    limited = sites[sites["case"].str.startswith("envelope_")]
    worst = limited.sort_values("limited_mwh").drop_duplicates("case", keep="last").set_index("case").loc[rules.index]
    told = "; ".join(
        f"{NAMES[case]}: {site} ({mwh:.1f} MWh in {h:.0f} h)"
        for case, site, mwh, h in zip(
            rules.index.tolist(), worst["site"].tolist(), worst["limited_mwh"], worst["limited_h"], strict=True
        )
    )
    best = by.loc[cheapest]
    gain = agreed["paid_usd"] + agreed["own_usd"] - best["paid_usd"] - best["own_usd"]
    kept = by.loc[list(rules.index), "broken"].sum()
    planner = {key: float(by[key]["welfare"]) for key in ("lost_mwh", "backup_mwh")}
    lines = [
        f"- **Without limits or prices** {without['broken']:.0f} voltages are broken, down to "
        f"{without['v_min_pu']:.4f} pu, and society pays {without['above_welfare_pct']:.0f} % more than the planner.",
        f"- **Limits keep the feeder**: {kept:.0f} broken voltages under all four rules. What a limit costs that a "
        f"price would not depends on the rule: {rules[cheapest]:.2g} % above the planner ({NAMES[cheapest]}) to "
        f"{rules[dearest]:.3g} % ({NAMES[dearest]}); negotiated prices {agreed['above_welfare_pct']:.1g} %.",
        f"- **Most limited**: {told}.",
        f"- **Who pays**: under negotiated prices the data centers pay {agreed['paid_usd']:,.0f} USD and bear "
        f"{agreed['own_usd']:,.0f}; under {NAMES[cheapest]} they pay {best['paid_usd']:,.0f} and bear "
        f"{best['own_usd']:,.0f}, {abs(gain):,.0f} USD {'less' if gain > 0 else 'more'} in all: limits are given away, "
        f"while prices of limits are rents that stay with the operator.",
        f"- **Dropped and backed up**: between {limited.groupby('case')['lost_mwh'].sum().min():.2f} and "
        f"{limited.groupby('case')['lost_mwh'].sum().max():.2f} MWh of work are dropped under limits and "
        f"{limited.groupby('case')['backup_mwh'].sum().min():.2f} to "
        f"{limited.groupby('case')['backup_mwh'].sum().max():.2f} MWh come from backup; the planner drops "
        f"{planner['lost_mwh']:.2f} and backs up {planner['backup_mwh']:.2f}.",
    ]
    shown = table.assign(case=table["case"].map(NAMES))
    return "\n".join([*lines, "", markdown_table(shown, _FORMS), "", markdown_table(
        sites.assign(case=sites["case"].map(NAMES)), _FORMS)]) + "\n"  # fmt: skip


def _main() -> int:
    parser = study_parser("Limits, prices, or neither.", "results/flexible")
    options = parser.parse_args()

    def work() -> Path:
        refuse_existing(options.out, force=options.force)
        with progress_bar("flexible") as progress:
            found = study(step_overrides(options.steps), progress)
        return write_findings(found, options.out, force=options.force)

    return main(work)


if __name__ == "__main__":
    raise SystemExit(_main())
