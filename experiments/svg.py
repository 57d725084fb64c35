"""Study: what static var generators do to voltage and phase unbalance at the data centers.

    python -m cosim.experiments.svg --out results/svg

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
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import cosim
from cosim.experiments.common import (
    Findings,
    Progress,
    main,
    markdown_table,
    progress_bar,
    step_overrides,
    study_parser,
    write_findings,
)
from cosim.grid.phases import vuf_from_line
from cosim.loading import load_scenario
from cosim.results.folders import refuse_existing
from cosim.results.record import VoltageLimits
from cosim.results.style import COLOURS, GREY, LIMIT_COLOUR, hold, new_figure, style, time_axis
from cosim.results.tables import LEGS
from cosim.scenario import MODES, Scenario
from cosim.simulation import RunResult

SCENARIOS = ("ieee37_svg", "ieee37_stress_svg")
SVG_MODES = ("none", "balanced", "per_leg")
MEASURES = {"vuf_pct": "VUF (IEC)", "lvur_pct": "LVUR (NEMA)", "pvur_pct": "PVUR (IEEE)"}
DEFAULT_PRICE = 1.0
"""USD/h per (percent VUF)^2 at each data center: enough to move an SVG, small beside the cost of energy."""

_TINT = {False: COLOURS[0], True: COLOURS[1]}
_PRICED = {False: "unbalance free", True: "unbalance priced"}
_SVG_TINT = dict(zip(SVG_MODES, (GREY, COLOURS[4], COLOURS[2]), strict=True))


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
            progress(i, len(chosen), f"{name}, {svg}, {_PRICED[p > 0]}")
        cases.append(_case(name, mode, svg, p, dict(overrides or {})))
    sites = per_site(cases)
    tables = {"comparison": per_case(cases, sites), "sites": sites, "steps": per_step(cases)}
    with style():
        figures = {
            "unbalance": unbalance_figure(sites),
            "voltage": voltage_figure(sites, cases),
            "cost": cost_figure(tables["comparison"]),
            "agreement": agreement_figure(tables["steps"]),
            "day": day_figure(tables["steps"]),
        }
        figures |= {f"measures_{s}": measures_figure(sites, s) for s in scenarios}
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


# -- figures --------------------------------------------------------------------------------------------------


def _grid(figure: Figure, scenarios: Sequence[str], sites: pd.DataFrame, **options: Any) -> list[tuple[Axes, str, str]]:
    """One panel per scenario (rows) and data center (columns), each with its scenario and bus."""
    buses = list(dict.fromkeys(zip(sites["datacenter"], sites["bus"], strict=True)))
    axes = figure.subplots(len(scenarios), len(buses), sharex=True, sharey=True, squeeze=False, **options)
    panels = []
    for line, scenario in zip(axes, scenarios, strict=True):
        for ax, (site, bus) in zip(line, buses, strict=True):
            ax.set_title(f"{scenario}\n{site}, bus {bus}", fontsize=9.5)
            ax.set_xticks(range(len(SVG_MODES)), [m.replace("_", " ") for m in SVG_MODES])
            ax.set_xlim(-0.55, len(SVG_MODES) - 0.45)
            ax.grid(visible=False, axis="x")
            panels.append((ax, scenario, bus))
    return panels


def _values(frame: pd.DataFrame, priced: bool, column: str) -> Any:
    """One value per SVG mode, in order."""
    return frame[frame["priced"] == priced].set_index("svg")[column].reindex(list(SVG_MODES)).to_numpy(dtype=float)


def _bars(ax: Axes, mine: pd.DataFrame, mean: str, greatest: str, linear: str | None) -> None:
    """Bars of the mean, a tick at the greatest, and a ring where the linear model has the mean."""
    at = np.arange(len(SVG_MODES))
    for priced in (False, True):
        x = at + (0.19 if priced else -0.19)
        ax.bar(x, _values(mine, priced, mean), width=0.36, color=_TINT[priced], label=f"{_PRICED[priced]}, AC mean")
        ax.plot(x, _values(mine, priced, greatest), "_", color="black", markersize=10, markeredgewidth=1.5,
                label="AC maximum" if priced else None)  # fmt: skip
        if linear is not None:
            ax.plot(x, _values(mine, priced, linear), "o", markerfacecolor="none", markeredgecolor="black",
                    markersize=5, label="linear mean" if priced else None)  # fmt: skip


def unbalance_figure(sites: pd.DataFrame) -> Figure:
    """VUF at the data centers by SVG mode, unbalance free and priced; AC mean and maximum, linear mean."""
    scenarios = list(dict.fromkeys(sites["scenario"]))
    figure = new_figure(1.2 + 2.2 * len(scenarios), "Voltage unbalance factor at the data centers (VUF, %)", 9.0)
    for ax, scenario, bus in _grid(figure, scenarios, sites):
        mine = sites[(sites["scenario"] == scenario) & (sites["bus"] == bus)]
        _bars(ax, mine, "vuf_mean_pct", "vuf_max_pct", "vuf_linear_mean_pct")
    for ax in figure.axes:
        if ax.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            ax.set_ylabel("VUF (%)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def measures_figure(sites: pd.DataFrame, scenario: str) -> Figure:
    """The three unbalance measures side by side at each data center of one scenario."""
    mine = sites[sites["scenario"] == scenario]
    buses = list(dict.fromkeys(zip(mine["datacenter"], mine["bus"], strict=True)))
    figure = new_figure(6.6, f"Three measures of unbalance at the data centers (%): {scenario}", 9.0)
    axes = figure.subplots(len(MEASURES), len(buses), sharex=True, sharey=True, squeeze=False)
    for line, (name, label) in zip(axes, MEASURES.items(), strict=True):
        stem = name.removesuffix("_pct")
        for ax, (site, bus) in zip(line, buses, strict=True):
            _bars(ax, mine[mine["bus"] == bus], f"{stem}_mean_pct", f"{stem}_max_pct", None)
            ax.set_xticks(range(len(SVG_MODES)), [m.replace("_", " ") for m in SVG_MODES])
            ax.grid(visible=False, axis="x")
            if ax in axes[0]:
                ax.set_title(f"{site}, bus {bus}", fontsize=9.5)
        line[0].set_ylabel(f"{label} (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def voltage_figure(sites: pd.DataFrame, cases: Sequence[Case]) -> Figure:
    """Range and mean of the AC line-to-line voltages at the data centers over the day, by SVG mode."""
    scenarios = list(dict.fromkeys(sites["scenario"]))
    limits = {c.scenario.name: VoltageLimits(c.scenario.network.v_min_pu, c.scenario.network.v_max_pu) for c in cases}
    title = "AC voltage at the data centers over the day (pu, line to line)"
    figure = new_figure(1.2 + 2.2 * len(scenarios), title, 9.0)
    for ax, scenario, bus in _grid(figure, scenarios, sites):
        mine = sites[(sites["scenario"] == scenario) & (sites["bus"] == bus)]
        for priced in (False, True):
            x = np.arange(len(SVG_MODES)) + (0.15 if priced else -0.15)
            low, mean, high = (_values(mine, priced, f"v_{k}_pu") for k in ("min", "mean", "max"))
            ax.vlines(x, low, high, color=_TINT[priced], linewidth=5, alpha=0.45)
            ax.plot(x, mean, "o", color=_TINT[priced], markersize=6, label=f"{_PRICED[priced]}: range and mean")
        ax.axhline(limits[scenario].v_min_pu, color=LIMIT_COLOUR, linewidth=1.3, linestyle=":", label="lower limit")
    for ax in figure.axes:
        if ax.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            ax.set_ylabel("pu")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def cost_figure(table: pd.DataFrame) -> Figure:
    """Operator's cost against the case without SVG and with unbalance free: resources, and the charge on unbalance."""
    scenarios = list(dict.fromkeys(table["scenario"]))
    figure = new_figure(1.3 + 2.2 * len(scenarios), "Operator's cost against no SVG with unbalance free (USD)", 9.0)
    axes = figure.subplots(len(scenarios), 1, squeeze=False)[:, 0]
    for ax, scenario in zip(axes, scenarios, strict=True):
        part = table[table["scenario"] == scenario].reset_index(drop=True)
        base = part[(part["svg"] == "none") & ~part["priced"]]["dso_resource_cost_usd"].iloc[0]
        resources, charge = part["dso_resource_cost_usd"] - base, part["unbalance_charge_usd"]
        at = np.arange(len(part))
        ax.barh(at - 0.18, resources, height=0.34, color=COLOURS[0], label="energy, generation, reactive wear, slack")
        ax.barh(at + 0.18, charge, height=0.34, color=COLOURS[5], label="charge on unbalance")
        for shift, values in ((-0.18, resources), (0.18, charge)):
            for y, v in enumerate(values):
                text = "0" if abs(v) < 5e-3 else f"{v:+.2f}".replace("-", "−")
                ax.annotate(text, (max(v, 0.0), y + shift), xytext=(4, 0), textcoords="offset points", va="center",
                            fontsize=8)  # fmt: skip
        names = [f"{r.svg.replace('_', ' ')}, {'priced' if r.priced else 'free'}" for r in part.itertuples()]
        ax.set_yticks(at, names)
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.axvline(0.0, color="black", linewidth=0.8)
        ax.margins(x=0.12)
        ax.set_title(f"{scenario} (base {base:,.2f} USD)")
    axes[-1].set_xlabel("USD over the whole horizon")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def agreement_figure(steps: pd.DataFrame) -> Figure:
    """VUF of the linear model against AC power flow, every data center and step, one colour per SVG mode."""
    figure = new_figure(4.2, "VUF at the data centers: linear model against AC power flow (%)", 8.5)
    left, right = figure.subplots(1, 2)
    reach = 1.05 * float(steps[["vuf_pct", "vuf_linear_pct"]].max().max())
    left.plot([0, reach], [0, reach], color="black", linewidth=0.8, zorder=1)
    for svg in SVG_MODES:
        for priced, marker in ((False, "o"), (True, "^")):
            part = steps[(steps["svg"] == svg) & (steps["priced"] == priced)]
            look: dict[str, Any] = {"s": 16, "marker": marker, "alpha": 0.7, "linewidths": 0, "color": _SVG_TINT[svg]}
            label = f"{svg.replace('_', ' ')}, {_PRICED[priced]}"
            left.scatter(part["vuf_pct"], part["vuf_linear_pct"], label=label, **look)
            right.scatter(part["vuf_pct"], part["vuf_linear_pct"] - part["vuf_pct"], **look)
    left.set(xlabel="VUF, AC (%)", ylabel="VUF, linear (%)", xlim=(0, reach), ylim=(0, reach))
    right.axhline(0.0, color="black", linewidth=0.8)
    right.set(xlabel="VUF, AC (%)", ylabel="linear − AC (percentage points)", xlim=(0, reach))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def day_figure(steps: pd.DataFrame) -> Figure:
    """Greatest AC VUF at the data centers over the day, one line per case."""
    scenarios = list(dict.fromkeys(steps["scenario"]))
    figure = new_figure(1.1 + 2.3 * len(scenarios), "Greatest VUF at the data centers over the day (AC, %)", 8.5)
    axes = figure.subplots(len(scenarios), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for ax, scenario in zip(axes, scenarios, strict=True):
        for svg in SVG_MODES:
            for priced in (False, True):
                part = steps[(steps["scenario"] == scenario) & (steps["svg"] == svg) & (steps["priced"] == priced)]
                worst = part.groupby("time")["vuf_pct"].max()
                times = pd.DatetimeIndex(worst.index)
                ax.step(*hold(times, worst), where="post", color=_SVG_TINT[svg], linestyle="--" if priced else "-",
                        label=f"{svg.replace('_', ' ')}, {_PRICED[priced]}")  # fmt: skip
                time_axis(ax, times)
        ax.set_ylim(bottom=0)
        ax.set(title=scenario, ylabel="VUF (%)")
        if ax is not axes[-1]:
            ax.set_xlabel("")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


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
        lines.append(f"Mean VUF at the data centers, {_PRICED[priced]} (%): {to} (no SVG, free: {start:.3f}).")
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
