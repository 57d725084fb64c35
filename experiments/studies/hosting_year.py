"""Study: how much three feeders can host always, and how much if a site may be limited now and then, over a year.

    python -m cosim.experiments.studies.hosting_year --out results/hosting_year --jobs 2
    python -m cosim.experiments.studies.hosting_year --dss path/to/Master.dss --buses 10,20

Sites at every three-phase bus of IEEE 37, IEEE 123 and IEEE 13 (imported from its OpenDSS script), for the hours of the
synthetic year, with a contingency or two each; beside them a battery, and work that may wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cosim.experiments.studies.common import (
    Findings,
    main,
    markdown_table,
    progress_bar,
    study_parser,
    write_findings,
)
from cosim.hosting.study.capacity import Battery, Shift
from cosim.hosting.study.figures import FAR
from cosim.hosting.study.report import binding_words
from cosim.hosting.study.result import Hosting
from cosim.hosting.study.study import Progress, hosting_study
from cosim.hosting.study.tables import flexible, over_all_cases
from cosim.results.figures.maps import feeder_map
from cosim.results.figures.style import COLOURS, new_figure, style
from cosim.results.folders import refuse_existing

LOAD = "profiles/synthetic_year:load_scale"
BATTERY = Battery(mwh=1.0, mw=0.5)
SHIFT = Shift(share=0.4, hours=6.0)
BUDGETS_PCT = (0.25, 0.5, 1.0, 5.0)
SHOWN_PCT = 1.0
LEAST_KW = 10.0
"""Firm capacities below are next to none: a gain over them says nothing."""
BASE = "base"


@dataclass(frozen=True)
class Place:
    """A feeder of the study: its source and cases."""

    source: str
    cases: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


PLACES = {
    "ieee37": Place("ieee37_year", ("one unit at neutral: regulator reg1.cb at tap 0",)),
    "ieee123": Place("ieee123", ("capacitor c88a off",),
                     {"load": LOAD}),
    "ieee13": Place("ieee13", ("bank cap1 off: capacitor cap1 off",),
                    {"load": LOAD, "v_max_pu": 1.06}),
}  # fmt: skip


def study(
    places: Mapping[str, Place], steps: int | None = None, jobs: int = 1, progress: Progress | None = None,
    buses: Sequence[str] | str = "three-phase", start: str | None = None,
) -> Findings:  # fmt: skip
    """Tables, figures and conclusion for some feeders.

    Args:
        steps: hours; a year by default. buses: of feeders that are not shipped. start: local time of the first hour.
    """
    found: dict[str, Hosting] = {}
    for name, place in places.items():
        found[name] = hosting_study(
            place.source, buses="three-phase" if name in PLACES else buses, year=steps is None, steps=steps,
            start=start, contingencies=place.cases, battery=BATTERY, shift=SHIFT, budgets_pct=BUDGETS_PCT, jobs=jobs,
            progress=progress, **place.more,
        )  # fmt: skip
    sizes = pd.concat([capacities(one).assign(feeder=name) for name, one in found.items()], ignore_index=True)
    sizes = sizes[["feeder", *(c for c in sizes if c != "feeder")]]
    gained = gains(sizes)
    figures = {"gain": gain_figure(gained)}
    captions = {"gain": "How much larger a site may be than the firm capacity, median over buses."}
    for name, one in found.items():
        own = sizes[sizes["feeder"] == name].set_index("connection")
        shown = {"firm_kw": "firm capacity", f"hours_{SHOWN_PCT:g}_pct_kw": f"limited in {SHOWN_PCT:g} % of the hours"}
        for column, title in shown.items():
            top = FAR * float(own[column].median())
            kind = column.split("_")[0]
            figures[f"map_{name}_{kind}"] = feeder_map(one.layout, own[column].clip(upper=top) / 1000, "capacity (MW)",
                                                       f"{name}: {title}")  # fmt: skip
            last = f"The last colour is {top / 1000:.3g} MW and more."
            captions[f"map_{name}_{kind}"] = f"{name}, all cases: {title}. {last}"
    return Findings({"capacities": sizes, "gains": gained}, figures, conclusion(sizes, gained, found), captions)


def capacities(one: Hosting) -> pd.DataFrame:
    """One row per connection: capacities (kW) over all cases, the firm one without contingency, and what binds."""
    table = one.summary().rename_axis("connection").reset_index()
    base = one.capacity[(one.capacity["case"] == BASE) & (one.capacity["means"] == "none")]
    firm = base[base["budget_of"] == "firm"].set_index("connection")["capacity_kw"]
    table.insert(1, "firm_base_case_kw", table["connection"].map(firm))
    for means in ("battery", "shift"):
        own = flexible(one.capacity, SHOWN_PCT, means=means)
        table[f"hours_{SHOWN_PCT:g}_pct_{means}_kw"] = table["connection"].map(own)
    return table


def gains(sizes: pd.DataFrame) -> pd.DataFrame:
    """Median gain over the firm capacity of all cases by feeder and by what is allowed (percent), of the connections
    whose capacities end below the search and are more than next to none."""
    rows = []
    counted = sizes[~sizes["open_ended"] & (sizes["firm_kw"] > LEAST_KW)]
    for feeder in dict.fromkeys(sizes["feeder"]):
        own = counted[counted["feeder"] == feeder]
        for column in own.columns:
            if column.endswith("_kw") and column not in ("firm_kw", "firm_base_case_kw", "unbroken_kw"):
                gain = 100 * (own[column] / own["firm_kw"] - 1)
                rows.append({"feeder": feeder, "allowed": column.removesuffix("_kw"), "median_gain_pct": gain.median(),
                             "least_gain_pct": gain.min(), "most_gain_pct": gain.max()})  # fmt: skip
    return pd.DataFrame(rows)


def gain_figure(gained: pd.DataFrame) -> Figure:
    """Median gains over the firm capacity, by feeder."""
    table = gained.pivot(index="allowed", columns="feeder", values="median_gain_pct")
    table = table.loc[list(dict.fromkeys(gained["allowed"])), list(dict.fromkeys(gained["feeder"]))]
    with style():
        figure = new_figure(4.2, "Gain over the firm capacity, median over buses (%)")
        axes = np.atleast_1d(figure.subplots(1, len(table.columns), sharey=True))
        for i, (ax, feeder) in enumerate(zip(axes, table.columns, strict=True)):
            ax.barh(np.arange(len(table)), table[feeder], height=0.7, color=COLOURS[i % len(COLOURS)])
            ax.set(title=str(feeder), xlabel="%")
            ax.grid(visible=False, axis="y")
        axes[0].set_yticks(np.arange(len(table)), [in_words(str(name)) for name in table.index])
        axes[0].invert_yaxis()
        return figure


def in_words(allowed: str) -> str:
    """What is allowed, from the name of a column."""
    words = allowed.split("_")
    helped = {"battery": "battery of 1 MWh, 0.5 MW", "shift": "40 % of the work waits 6 h"}
    if words[0] == "firm":
        return f"always, {helped[words[1]]}"
    return f"{words[1]} % of {words[0]}" + (f", {helped[words[3]]}" if len(words) > 3 else "")


def conclusion(sizes: pd.DataFrame, gained: pd.DataFrame, found: Mapping[str, Hosting]) -> str:
    """What the tables say, in words; every number is taken from them."""
    text = ["# Hosting over a year\n"]
    hours = {len(one.steps) for one in found.values()}
    text.append(f"Sites at every three-phase bus, {max(hours):,} hours, over all cases. Median gain over the firm "
                "capacity of the buses whose capacity ends below the search (%):\n")  # fmt: skip
    wide = gained.pivot(index="allowed", columns="feeder", values="median_gain_pct")
    wide = wide.loc[list(dict.fromkeys(gained["allowed"])), list(dict.fromkeys(gained["feeder"]))].reset_index()
    wide["allowed"] = wide["allowed"].map(in_words)
    text.append(markdown_table(wide, dict.fromkeys(wide.columns[1:], ",.0f")))
    for name, one in found.items():
        text += _of_feeder(name, sizes[sizes["feeder"] == name], one)
    return "\n".join(text) + "\n"


def _of_feeder(name: str, own: pd.DataFrame, one: Hosting) -> list[str]:
    within = own[~own["open_ended"]].set_index("connection")
    if within.empty:
        return [f"- **{name}**: nothing limits any bus up to where the search ends."]
    firm = within["firm_kw"]
    text = [
        f"- **{name}**: always, from {firm.min():,.0f} kW at bus {firm.idxmin()} to {firm.max():,.0f} kW at bus "
        f"{firm.idxmax()}, median {firm.median():,.0f} kW; limited in {SHOWN_PCT:g} % of the hours, median "
        f"{within[f'hours_{SHOWN_PCT:g}_pct_kw'].median():,.0f} kW."
    ]
    cost = 100 * (1 - firm / within["firm_base_case_kw"])
    cases = [case for case in one.contingencies["case"] if case != BASE]
    if cases and cost.notna().any():
        text.append(f"  Being ready for {' and '.join(cases)} costs {cost.median():,.0f} % of the firm capacity in the "
                    f"median, at most {cost.max():,.0f} %.")  # fmt: skip
    binding = within["kind"].value_counts()
    parts = [f"{count} by {binding_words(kind, None, None)}" for kind, count in binding.items()]
    text.append(f"  Of {len(within)} buses {', '.join(parts)}; the limit stands most often at "
                f"{within['element'].value_counts().idxmax()}.")  # fmt: skip
    rows = over_all_cases(one.capacity)
    rows = rows[(rows["means"] == "none") & (rows["budget_of"] == "hours") & (rows["budget_pct"] == SHOWN_PCT)]
    text.append(f"  A site that is limited in {SHOWN_PCT:g} % of the hours loses at most "
                f"{rows['not_served_pct'].max():.2g} % of its energy.")  # fmt: skip
    bound = within[within["broken_steps_pct"] > 0]
    broken = one.base_violations
    if len(broken):
        worst = broken.sort_values("steps", ascending=False, kind="stable").iloc[0]
        text.append(f"  Limits that the feeder breaks by itself: {len(broken)}, most often in {worst['steps']:,} hours "
                    f"({binding_words(worst['kind'], worst['element'], worst['phase'])}, case {worst['case']}); "
                    f"such limits bind in some hour at {len(bound)} of the {len(within)} buses.")  # fmt: skip
    if len(bound):
        text.append(f"  In all other hours they could always draw {bound['unbroken_kw'].median():,.0f} kW in the "
                    "median.")  # fmt: skip
    return text


def _main() -> int:
    parser = study_parser("Hosting capacity over a year, firm and flexible.", "results/hosting_year")
    parser.add_argument("feeders", nargs="*", default=list(PLACES), help=f"of {', '.join(PLACES)}")
    parser.add_argument("--dss", type=Path, default=None, help="an OpenDSS script, studied as well")
    parser.add_argument("--buses", default="three-phase", help="its buses, separated by commas")
    parser.add_argument("--start", default=None, help="local time of the first hour; 1 January by default")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    if unknown := set(options.feeders) - set(PLACES):
        parser.error(f"no such feeder: {', '.join(sorted(unknown))}")

    def work() -> Path:
        refuse_existing(options.out, force=options.force)
        places = {name: PLACES[name] for name in options.feeders}
        if options.dss is not None:
            places[options.dss.stem] = Place(str(options.dss), (), {"load": LOAD})
        buses = options.buses if options.buses == "three-phase" else options.buses.split(",")
        with progress_bar("hosting_year") as progress:
            found = study(places, options.steps, options.jobs, progress, buses, options.start)
        return write_findings(found, options.out, force=options.force)

    return main(work)


if __name__ == "__main__":
    raise SystemExit(_main())
