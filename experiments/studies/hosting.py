"""Study: hosting capacity by bus; the measurement and the analysis of ``hosting.yaml``.

    cosim sweep hosting --out results/hosting

A run of this sweep is a search: the one data center of the scenario grows until a voltage limit breaks, in the linear
model and in AC power flow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from cosim.experiments.studies.common import markdown_table, missing_note, whole_grid
from cosim.grid.feeder.tables import read_feeder
from cosim.results.figures.maps import feeder_map
from cosim.results.figures.style import COLOURS, new_figure, style
from cosim.results.kpis import VIOLATION_TOLERANCE_PU
from cosim.results.layout import layout_of_feeder
from cosim.scenario.schema import Scenario
from cosim.simulation.runner import RunResult, simulate
from cosim.sweep.findings import Findings
from cosim.sweep.reading import Sweep
from cosim.sweep.worker import Outcome

LARGEST_KW = 3000.0
RESOLUTION_KW = 50.0
IDLE_SHARE = 0.3
MODELS = {"linear_kw": "linear model", "ac_kw": "AC power flow"}
CASES = {
    ("uncoordinated", "none"): "work on arrival", ("uncoordinated", "per_leg"): "work on arrival, SVG",
    ("welfare", "none"): "coordinated", ("welfare", "per_leg"): "coordinated, SVG",
}  # fmt: skip
Margins = tuple[float, float]


def largest(scenario: Scenario, path: Path) -> Outcome:
    """The largest IT load (kW) of the scenario's data center before a voltage limit breaks.

    Both limits are searched over the same runs, each to ``RESOLUTION_KW``; the answer is a size that was seen to hold.
    """
    seen: dict[float, Margins] = {}

    def margins(size_kw: float) -> Margins:
        if size_kw not in seen:
            run = simulate(_sized(scenario, size_kw), path)
            seen[size_kw] = (_margin(run, "v_pu"), _margin(run, "v_ac_pu"))
        return seen[size_kw]

    found = {}
    for i, name in enumerate(MODELS):
        known = {size_kw: both[i] for size_kw, both in seen.items()}
        found[name] = _capacity(lambda size_kw, i=i: margins(size_kw)[i], known)  # type: ignore[misc]
    return Outcome({**found, "runs_needed": len(seen)})


def _margin(run: RunResult, column: str) -> float:
    """Distance of the worst voltage from its limit (pu); below 0 where it is broken by more than solvers err."""
    limits, v = run.record.limits, run.tables.voltages
    assert limits is not None, "a run with one feeder"
    return float(limits.room(v["bus"], v[column]).min()) + VIOLATION_TOLERANCE_PU


def _sized(scenario: Scenario, size_kw: float) -> Scenario:
    site = scenario.datacenters[0].model_copy(update={"it_peak_kw": size_kw, "it_idle_kw": IDLE_SHARE * size_kw})
    return scenario.model_copy(update={"datacenters": (site, *scenario.datacenters[1:])})


def _capacity(margin: Callable[[float], float], known: dict[float, float]) -> float:
    """The largest size that holds: a bracket, narrowed where a straight line or its middle lies; 0 if none holds.

    Args:
        margin: of a size, 0 or more if it holds. known: margins of sizes that have been looked at.
    """
    for size_kw in (LARGEST_KW, RESOLUTION_KW):
        known.setdefault(size_kw, margin(size_kw))
        if (known[size_kw] >= 0) == (size_kw == LARGEST_KW):
            return size_kw if size_kw == LARGEST_KW else 0.0
    high = min(size_kw for size_kw, m in known.items() if m < 0)
    low = max(size_kw for size_kw, m in known.items() if m >= 0 and size_kw < high)
    halve = False
    while high - low > RESOLUTION_KW:
        share = 0.5 if halve else known[low] / (known[low] - known[high])
        guess = _round(low + (high - low) * share, low, high)
        known[guess] = margin(guess)
        before = high - low
        low, high = (guess, high) if known[guess] >= 0 else (low, guess)
        halve = high - low > 0.5 * before
    return low


def _round(size_kw: float, low: float, high: float) -> float:
    """To the resolution, strictly inside the bracket, so that both searches ask for the same sizes."""
    steps = round(size_kw / RESOLUTION_KW)
    return min(max(steps * RESOLUTION_KW, low + RESOLUTION_KW), high - RESOLUTION_KW)


def findings(found: Sweep) -> Findings:
    """Table, maps and conclusion of the sweep."""
    table = comparison(whole_grid(found))
    feeder = found.scenario(found.ok["run"].iloc[0])["network"]["feeder"]
    layout = layout_of_feeder(read_feeder(feeder))
    with style():
        figures = {"by_case": _case_figure(table)}
        for (mode, svg), name in CASES.items():
            part = table[(table["mode"] == mode) & (table["svg"] == svg)].set_index("bus")["ac_kw"]
            if len(part):
                title = f"Hosting capacity: {name}"
                figures[f"map_{mode}_{svg}"] = feeder_map(layout, part, "largest data center, AC (kW)", title)
    captions = {
        "by_case": "Largest IT load at each bus before the lower voltage limit breaks.",
        **{f"map_{m}_{s}": f"Largest IT load by bus, {n}: AC power flow. Hollow buses were not asked for."
           for (m, s), n in CASES.items()},
    }  # fmt: skip
    return Findings({"comparison": table}, figures, conclusion(table) + missing_note(found), captions)


def comparison(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per bus and case: largest IT load (kW) in both models."""
    table = runs[["bus", "svg", "mode", *MODELS, "runs_needed"]].copy()
    table["case"] = [CASES[m, s] for m, s in zip(table["mode"], table["svg"], strict=True)]
    return table.sort_values(["bus", "mode", "svg"], ignore_index=True)


def _case_figure(table: pd.DataFrame) -> Figure:
    figure = new_figure(4.2, "Hosting capacity by bus")
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    order = [c for c in CASES.values() if c in set(table["case"])]
    for ax, (column, name) in zip(axes, MODELS.items(), strict=True):
        sns.stripplot(table, x="bus", y=column, hue="case", hue_order=order, palette=list(COLOURS[: len(order)]), ax=ax,
                      jitter=False, dodge=True, size=4.5, legend=ax is axes[0])  # fmt: skip
        ax.set(xlabel="bus", ylabel="IT load (kW)", title=name)
    sns.move_legend(axes[0], "lower left", title=None)
    return figure


def conclusion(table: pd.DataFrame) -> str:
    """What the table says, in words; every number is taken from it."""
    wide = table.pivot(index="bus", columns="case", values="ac_kw")
    wide = wide[[c for c in CASES.values() if c in wide]]
    text = [
        "# Hosting capacity\n",
        f"Largest IT load (kW) of one data center in AC power flow, to {RESOLUTION_KW:g} kW; {LARGEST_KW:g} is the "
        "most that was tried.\n",
        markdown_table(wide.reset_index(), dict.fromkeys(wide.columns, ",.0f")),
    ]
    for case in wide:
        size = wide[case]
        text.append(
            f"- **{case}**: from {size.min():,.0f} kW at bus {size.idxmin()} to {size.max():,.0f} kW at bus "
            f"{size.idxmax()}."
        )
    base = wide["work on arrival"]
    for case in wide.columns[1:]:
        gain = 100 * (wide[case] / base - 1)
        text.append(
            f"- {case} against work on arrival: {gain.min():+.0f} to {gain.max():+.0f} %, median "
            f"{gain.median():+.0f} %."
        )
    apart = table["ac_kw"] - table["linear_kw"]
    differ = int((apart.abs() > RESOLUTION_KW).sum())
    text.append(
        f"- The linear model and AC power flow agree to {RESOLUTION_KW:g} kW in {len(table) - differ} of {len(table)} "
        f"cases; they are at most {apart.abs().max():,.0f} kW apart."
    )
    return "\n".join(text) + "\n"
