"""Study: what static var generators do to voltage and phase unbalance at the data centers.

    python -m cosim.experiments.studies.svg --out results/svg

Cases: no SVG, balanced (the same on three phases), per leg; each with unbalance at the data centers free, and with a
price on it. Voltages and unbalance are those of AC power flow; the linear model stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import cosim
from cosim.constants import LEGS
from cosim.experiments.studies.common import (
    Findings,
    Progress,
    main,
    markdown_table,
    progress_bar,
    step_overrides,
    study_parser,
    write_findings,
)
from cosim.experiments.studies.svg_figures import MEASURES, PRICED, SVG_MODES, all_figures
from cosim.grid.feeder.phases import vuf_from_line
from cosim.results.figures.style import style
from cosim.results.folders import refuse_existing
from cosim.results.record import VoltageLimits
from cosim.scenario.loading import load_scenario
from cosim.scenario.modes import MODES
from cosim.scenario.schema import Scenario
from cosim.simulation.runner import RunResult

SCENARIOS = ("ieee37_svg", "ieee37_stress_svg")
DEFAULT_PRICE = 1.0
"""USD/h per (percent VUF)^2 at each data center: enough to move an SVG, small beside the cost of energy."""


@dataclass(frozen=True)
class Case:
    """One run: the scenario it belongs to, how its SVGs are dispatched, and the price of unbalance (0: free)."""

    scenario: Scenario
    svg: str
    price: float
    result: RunResult


def study(
    scenarios: Sequence[str] = SCENARIOS,
    mode: str = "welfare",
    price: float = DEFAULT_PRICE,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Run every scenario with every SVG mode, unbalance free and priced.

    Args:
        scenarios: shipped names or paths; their SVGs are switched together.
        mode: mode of coordination.
        price: USD/h per (percent VUF)^2 at each data center's bus.
        overrides: further keys of all scenarios, dotted.
        progress: called with (runs done, runs in all, what is being run).

    Raises:
        InputError: a scenario or key that cannot be used. RunFailure: a run failed.
    """
    chosen = [(s, svg, p) for s in scenarios for svg in SVG_MODES for p in (0.0, price)]
    cases = []
    for i, (name, svg, p) in enumerate(chosen):
        if progress is not None:
            progress(i, len(chosen), f"{name}, {svg}, {PRICED[p > 0]}")
        cases.append(_case(name, mode, svg, p, dict(overrides or {})))
    sites = per_site(cases)
    tables = {"comparison": per_case(cases, sites), "sites": sites, "steps": per_step(cases)}
    limits = {c.scenario.name: VoltageLimits(c.scenario.network.v_min_pu, c.scenario.network.v_max_pu) for c in cases}
    with style():
        figures = all_figures(sites, tables["steps"], tables["comparison"], limits)
    return Findings(tables, figures, conclusion(tables, mode, price))


def _case(name: str, mode: str, svg: str, price: float, overrides: dict[str, Any]) -> Case:
    plain, _ = load_scenario(name, overrides)
    changes = {**overrides, **{f"svgs.{s.name}.mode": svg for s in plain.svgs}}
    buses = [d.bus for d in plain.datacenters]
    changes["network.unbalance"] = {"price_usd_per_pct2h": price, "buses": buses if price > 0 else []}
    scenario, _ = load_scenario(name, changes)
    return Case(scenario, svg, price, cosim.run(name, mode=mode, overrides=changes))


# -- tables ---------------------------------------------------------------------------------------------------


def per_step(cases: Sequence[Case]) -> pd.DataFrame:
    """Per case, data center and step: AC voltages, the three unbalance measures in AC, and VUF in the linear model."""
    frames = []
    for case in cases:
        tables = case.result.tables
        times = tables.steps.set_index("step")["time"]
        for site in case.scenario.datacenters:
            at = tables.voltages[(tables.voltages["bus"] == site.bus) & tables.voltages["phase"].isin(LEGS)]
            linear, ac = (at.pivot(index="step", columns="phase", values=v)[list(LEGS)] for v in ("v_pu", "v_ac_pu"))
            frame = tables.unbalance[tables.unbalance["bus"] == site.bus].set_index("step")[list(MEASURES)]
            frame = frame.assign(
                vuf_linear_pct=pd.Series(vuf_from_line(linear), index=linear.index),
                v_min_pu=ac.min(axis=1),
                v_mean_pu=ac.mean(axis=1),
                v_max_pu=ac.max(axis=1),
            ).reset_index()
            frame.insert(1, "time", frame["step"].map(times))
            labels: dict[str, Any] = {
                "scenario": case.scenario.name, "svg": case.svg, "priced": case.price > 0, "datacenter": site.name,
                "bus": site.bus,
            }  # fmt: skip
            for k, (column, value) in enumerate(labels.items()):
                frame.insert(k, column, value)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def per_site(cases: Sequence[Case]) -> pd.DataFrame:
    """Per case and data center over the horizon: least and mean AC voltage, mean and greatest unbalance."""
    steps = per_step(cases)
    spec: dict[str, Any] = {
        "v_min_pu": ("v_min_pu", "min"), "v_mean_pu": ("v_mean_pu", "mean"), "v_max_pu": ("v_max_pu", "max"),
        "vuf_linear_mean_pct": ("vuf_linear_pct", "mean"), "vuf_linear_max_pct": ("vuf_linear_pct", "max"),
    }  # fmt: skip
    for name in MEASURES:
        stem = name.removesuffix("_pct")
        spec[f"{stem}_mean_pct"], spec[f"{stem}_max_pct"] = (name, "mean"), (name, "max")
    keys = ["scenario", "svg", "priced", "datacenter", "bus"]
    sites: pd.DataFrame = steps.groupby(keys, sort=False).agg(**spec).reset_index()
    return sites


def per_case(cases: Sequence[Case], sites: pd.DataFrame) -> pd.DataFrame:
    """One row per case: costs (the operator's also without the price of unbalance), unbalance, AC against linear."""
    steps = per_step(cases)
    rows: list[dict[str, object]] = []
    for case in cases:
        mine = _of(steps, case)
        kpis, hours = case.result.kpis, case.scenario.clock.step_s / 3600
        charged = case.price * hours * float((mine["vuf_linear_pct"] ** 2).sum())
        cost = float(case.result.steps["dso_cost_usd"].sum())
        svg = case.result.dispatch[case.result.dispatch["kind"] == "svg"]
        here = _of(sites, case)
        rows.append(
            {
                "scenario": case.scenario.name,
                "svg": case.svg,
                "priced": case.price > 0,
                "price_usd_per_pct2h": case.price,
                "dso_cost_usd": cost,
                "unbalance_charge_usd": charged,
                "dso_resource_cost_usd": cost - charged,
                "social_cost_usd": kpis["social_cost_usd"],
                "dca_cost_usd": kpis["dca_cost_usd"],
                "svg_mean_abs_kvar": float(svg["q_kvar"].abs().mean()) if len(svg) else 0.0,
                "v_min_pu": here["v_min_pu"].min(),
                "v_mean_pu": here["v_mean_pu"].mean(),
                "vuf_mean_pct": here["vuf_mean_pct"].mean(),
                "vuf_max_pct": here["vuf_max_pct"].max(),
                "vuf_linear_mean_pct": here["vuf_linear_mean_pct"].mean(),
                "vuf_max_anywhere_pct": kpis["vuf_max_pct"],
                "vuf_linear_error_max_pct": float((mine["vuf_linear_pct"] - mine["vuf_pct"]).abs().max()),
                "slack_mwh": kpis["slack_mwh"],
            }
        )
    return pd.DataFrame(rows)


def _of(frame: pd.DataFrame, case: Case) -> pd.DataFrame:
    """The rows of a case."""
    same = (frame["scenario"] == case.scenario.name) & (frame["svg"] == case.svg)
    return frame[same & (frame["priced"] == (case.price > 0))]


# -- conclusion -----------------------------------------------------------------------------------------------


def conclusion(tables: Mapping[str, pd.DataFrame], mode: str, price: float) -> str:
    """What the tables say, in words; every number is taken from them."""
    table, sites = tables["comparison"], tables["sites"]
    buses = ", ".join(dict.fromkeys(sites["bus"]))
    text = [
        "# Static var generators and phase unbalance\n",
        f"Mode {mode}; unbalance priced at {price:g} USD/h per (% VUF)² at buses {buses} where it says so. Voltages "
        "and unbalance are from AC power flow unless linear is said.\n",
    ]
    for scenario in dict.fromkeys(table["scenario"]):
        part = table[table["scenario"] == scenario]
        text.append(f"## {scenario}\n")
        columns = [
            "svg", "priced", "dso_resource_cost_usd", "unbalance_charge_usd", "v_min_pu", "v_mean_pu", "vuf_mean_pct",
            "vuf_max_pct", "svg_mean_abs_kvar",
        ]  # fmt: skip
        forms = {"dso_resource_cost_usd": ",.2f", "unbalance_charge_usd": ",.2f", "v_min_pu": ".4f", "v_mean_pu": ".4f",
                 "vuf_mean_pct": ".3f", "vuf_max_pct": ".3f", "svg_mean_abs_kvar": ".1f"}  # fmt: skip
        shown = part[columns].assign(priced=np.where(part["priced"], "yes", "no"))
        text.append(markdown_table(shown, forms))
        mine = sites[sites["scenario"] == scenario]
        measured = [f"{s}_{k}_pct" for k in ("mean", "max") for s in ("vuf", "lvur", "pvur")]
        columns = ["bus", "svg", "priced", "v_min_pu", "v_mean_pu", *measured, "vuf_linear_mean_pct"]
        shown = mine[columns].assign(priced=np.where(mine["priced"], "yes", "no")).sort_values("bus", kind="stable")
        forms = {"v_min_pu": ".4f", "v_mean_pu": ".4f", **dict.fromkeys([*measured, "vuf_linear_mean_pct"], ".3f")}
        text.append(markdown_table(shown, forms))
        text += [f"- {line}" for line in _sentences(part.set_index(["svg", "priced"]))]
        text.append("")
    return "\n".join(text)


def _sentences(part: pd.DataFrame) -> list[str]:
    """What SVGs do to unbalance, cost and voltage, free and priced, and whether the linear model knows it."""

    values: dict[tuple[Any, ...], Any] = part.to_dict("index")  # type: ignore[assignment]

    def of(svg: str, priced: bool, column: str) -> float:
        return float(values[svg, priced][column])

    lines = []
    start = of("none", False, "vuf_mean_pct")
    for priced in (False, True):
        to = "; ".join(f"{svg.replace('_', ' ')} {of(svg, priced, 'vuf_mean_pct'):.3f}" for svg in SVG_MODES)
        lines.append(f"Mean VUF at the data centers, {PRICED[priced]} (%): {to} (no SVG, free: {start:.3f}).")
    for svg in SVG_MODES:
        change = of(svg, True, "vuf_mean_pct") - of(svg, False, "vuf_mean_pct")
        cost = of(svg, True, "dso_resource_cost_usd") - of(svg, False, "dso_resource_cost_usd")
        lines.append(
            f"{svg.replace('_', ' ')}: the price on unbalance changes mean VUF by {change:+.3f} points and the "
            f"operator's cost of resources by {cost:+.2f} USD."
        )
    base = of("none", False, "dso_cost_usd")
    savings = {svg: of(svg, False, "dso_cost_usd") - base for svg in ("balanced", "per_leg")}
    lines.append(
        "Unbalance free, against no SVG: operator's cost "
        + ", ".join(f"{v:+.2f} USD ({svg.replace('_', ' ')})" for svg, v in savings.items())
        + f"; lowest voltage {of('none', False, 'v_min_pu'):.4f} pu without, "
        f"{of('balanced', False, 'v_min_pu'):.4f} (balanced), {of('per_leg', False, 'v_min_pu'):.4f} pu (per leg)."
    )
    worst = float(part["vuf_linear_error_max_pct"].max())
    alike = list(part["vuf_mean_pct"].argsort()) == list(part["vuf_linear_mean_pct"].argsort())
    lines.append(
        f"VUF of the linear model and of AC power flow differ by at most {worst:.3f} percentage points in any step; "
        f"they order the cases {'alike' if alike else 'differently'}."
    )
    return lines


def _main() -> int:
    parser = study_parser("Static var generators and phase unbalance.", "results/svg")
    parser.add_argument("scenarios", nargs="*", default=list(SCENARIOS), help="scenarios by name or path")
    parser.add_argument("--mode", choices=MODES, default="welfare", help="mode of coordination")
    parser.add_argument("--price", type=float, default=DEFAULT_PRICE, help="price of unbalance, USD/h per (%% VUF)^2")
    options = parser.parse_args()

    def work() -> Path:
        refuse_existing(options.out, force=options.force)
        with progress_bar("svg") as progress:
            found = study(options.scenarios, options.mode, options.price, step_overrides(options.steps), progress)
        return write_findings(found, options.out, force=options.force)

    return main(work)


if __name__ == "__main__":
    raise SystemExit(_main())
