"""A hosting study from its start to its folder: hourly limits, capacities, tables, figures, a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.errors import InputError, RunFailure, listed
from cosim.grid.feeder.feeder import Feeder
from cosim.hosting.cases import Case
from cosim.hosting.engine import hourly_limits
from cosim.hosting.limits import Connection, HourlyLimits, connection_at
from cosim.hosting.study.capacity import Battery, Per, Shift
from cosim.hosting.study.inputs import Clock, SeriesLike, StudyInputs, read_inputs, series_spec
from cosim.hosting.study.outages import cases_of, in_words
from cosim.hosting.study.page import write_hosting_page
from cosim.hosting.study.report import write_hosting_report
from cosim.hosting.study.result import Hosting, HostingRecord
from cosim.hosting.study.schemas import BASE_VIOLATIONS, CONNECTIONS, CONTINGENCIES, STEPS
from cosim.hosting.study.tables import (
    SOLUTION,
    Site,
    capacity_table,
    curtailment_table,
    duration_table,
    limit_parts,
)
from cosim.hosting.surroundings import Surroundings
from cosim.results.folders import ResultFolder
from cosim.results.layout import layout_of_feeder
from cosim.results.record import utc_now, versions
from cosim.results.tables import check
from cosim.results.underway.writing import Underway

Progress = Callable[[int, int, str], None]
_PER: tuple[Per, ...] = get_args(Per)
ALL, THREE_PHASE = "all", "three-phase"
BUDGETS_PCT = (0.25, 0.5, 1.0, 5.0)
_LISTED = 12
_ROUND_KW = 100.0
_TIMES_LOAD = 3.0
_LEAST_KW = 1000.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a study asks for.

    Attributes:
        buses: ``all``, ``three-phase``, or names. pairs: buses that share a draw equally, joined by ``+``.
        contingencies: see :func:`cosim.hosting.study.outages.cases_of`; lines_out: lines taken out one by one.
        budgets_pct: of hours and of energy, percent. power_factor: of the draw, lagging.
        largest_kw: draw up to which is searched; three times the feeder's load where nothing is said.
        profile: what the site wants as a share of its capacity; all of it where nothing is said.
        svg_kvar: reactive power that an SVG at the connection can give or take. battery, shift: see there.
        leave_broken_out: a limit that the base case breaks in a step does not bind there; else it is replaced by "not
            made worse".
    """

    buses: str | Sequence[str] = THREE_PHASE
    pairs: Sequence[str] = ()
    contingencies: Sequence[str | Path | Mapping[str, Any] | Case] = ()
    lines_out: Sequence[str] = ()
    budgets_pct: Sequence[float] = BUDGETS_PCT
    power_factor: float = 0.95
    largest_kw: float | None = None
    profile: SeriesLike | None = None
    svg_kvar: float | None = None
    battery: Battery | None = None
    shift: Shift | None = None
    leave_broken_out: bool = False

    @property
    def switches(self) -> bool:
        """Whether any case changes the network."""
        return bool(self.contingencies or self.lines_out)


def hosting_study(
    source: str | Path,
    *,
    buses: str | Sequence[str] = THREE_PHASE,
    pairs: Sequence[str] = (),
    year: bool = False,
    start: str | None = None,
    steps: int | None = None,
    step_s: int | None = None,
    load: SeriesLike | None = None,
    sun: SeriesLike | None = None,
    contingencies: Sequence[str | Path | Mapping[str, Any] | Case] = (),
    lines_out: Sequence[str] = (),
    budgets_pct: Sequence[float] = BUDGETS_PCT,
    profile: SeriesLike | None = None,
    svg_kvar: float | None = None,
    battery: Battery | None = None,
    shift: Shift | None = None,
    leave_broken_out: bool = False,
    power_factor: float = 0.95,
    largest_kw: float | None = None,
    v_min_pu: float | None = None,
    v_max_pu: float | None = None,
    ratings: bool | None = None,
    overrides: Mapping[str, Any] | None = None,
    jobs: int = 1,
    out: str | Path | None = None,
    force: bool = False,
    figures: bool = True,
    progress: Progress | None = None,
) -> Hosting:
    """How much a feeder can host always, and how much if it may be limited now and then, bus by bus.

    Args:
        source: a scenario, a feeder or an OpenDSS script, see :func:`cosim.hosting.study.inputs.read_inputs`.
        buses, pairs, contingencies, lines_out, budgets_pct, profile, svg_kvar, battery, shift, leave_broken_out,
            power_factor, largest_kw: see :class:`Asked`.
        year, start, steps, step_s: 365 days, or so many steps of so many seconds from a local time on.
        load, sun, v_min_pu, v_max_pu, ratings, overrides: see :func:`cosim.hosting.study.inputs.read_inputs`.
        jobs: processes; results do not depend on it.
        out: folder for tables, figures and report; nothing is written without. force: replace earlier results.
        progress: called with (done, in all, what is being done).

    Raises:
        InputError: wrong input. RunFailure: no case has a power flow solution without the connections.
    """
    asked = Asked(buses, pairs, contingencies, lines_out, budgets_pct, power_factor, largest_kw, profile, svg_kvar,
                  battery, shift, leave_broken_out)  # fmt: skip
    inputs = read_inputs(source, Clock(start, steps, step_s, year), load=load, sun=sun, v_min_pu=v_min_pu,
                         v_max_pu=v_max_pu, ratings=ratings, overrides=overrides, as_tables=asked.switches)  # fmt: skip
    if out is None:
        return _studied(inputs, asked, str(source), jobs, progress)
    with ResultFolder(out, force=force) as folder, Underway(folder.path, "hosting", Path(source).stem) as watch:
        found = _studied(inputs, asked, str(source), jobs, watch.also(progress))
        watch.say("writing the report")
        found.write(folder.path)
        write_hosting_report(folder.path, figures)
        if figures:
            write_hosting_page(folder.path)
    return found


def connections_of(feeder: Feeder, asked: Asked) -> tuple[Connection, ...]:
    """The connections that are asked for, buses first, then pairs.

    Raises:
        InputError: no such bus, or one twice; none at all.
    """
    if isinstance(asked.buses, str) and asked.buses in (ALL, THREE_PHASE):
        least = 3 if asked.buses == THREE_PHASE else 1
        names = [bus.name for bus in feeder.buses if bus.name != feeder.source_bus
                 and len(bus.phases if bus.grounded else bus.legs) >= least]  # fmt: skip
        if not names:
            raise InputError(f"feeder {feeder.name} has no such bus", key="--buses", value=asked.buses)
    else:
        names = [asked.buses] if isinstance(asked.buses, str) else list(asked.buses)
    shared = [pair.split("+") for pair in asked.pairs]
    for pair in shared:
        if len(pair) < 2 or len(set(pair)) < len(pair):
            raise InputError(
                "not a pair of buses", key="--pairs", value="+".join(pair), allowed="different buses, as a+b"
            )
    wanted = [[name] for name in names] + shared
    if twice := [w for i, w in enumerate(wanted) if w in wanted[:i]]:
        raise InputError("a connection is asked for twice", key="--buses", value="+".join(twice[0]))
    return tuple(connection_at(feeder, *these, power_factor=asked.power_factor) for these in wanted)


def _studied(inputs: StudyInputs, asked: Asked, source: str, jobs: int, progress: Progress | None) -> Hosting:
    around, began, started = inputs.around, time.perf_counter(), utc_now()
    feeder = around.feeder
    connections, cases = connections_of(feeder, asked), cases_of(feeder, asked.contingencies, asked.lines_out)
    site = _site(inputs, asked, feeder)
    limits = {False: _limits(around, connections, cases, site.largest_kw, asked, None, jobs, progress)}
    if asked.svg_kvar is not None:
        limits[True] = _limits(around, connections, cases, site.largest_kw, asked, asked.svg_kvar, jobs, progress)
    found_s = time.perf_counter() - began
    bare = limits[False]
    if np.isnan(bare.p_kw).all():
        raise _unsolvable(bare)

    def tell(share: float) -> None:
        if progress is not None:
            progress(int(1000 * share), 1000, "capacities")

    tables = {
        "capacity": capacity_table(limits, site, tell),
        "duration": duration_table(limits),
        "curtailment": curtailment_table(limits, site),
        "base_violations": _base_violations(bare),
        "contingencies": _contingencies(bare, cases),
        "connections": _connections(connections),
        "steps": check(STEPS, pd.DataFrame({"step": range(around.steps), "time": pd.DatetimeIndex(inputs.times)})),
    }
    record = HostingRecord(
        name=inputs.name,
        settings=_settings(source, asked, site),
        step_s=around.step_s,
        budgets_pct=tuple(sorted(asked.budgets_pct)),
        inputs=dict(inputs.digests),
        versions=versions(),
        started=started,
        wall_times_s={"limits": round(found_s, 3), "capacities": round(time.perf_counter() - began - found_s, 3)},
        notes=(*inputs.notes, *(note for one in limits.values() for note in one.notes if note not in inputs.notes),
               *_told(tables, site, asked)),
    )  # fmt: skip
    return Hosting(**tables, layout=layout_of_feeder(feeder), record=record, source=_Parts(limits))


@dataclass(frozen=True)
class _Parts:
    """The rows of the table of hourly limits, in parts, as often as they are wanted."""

    limits: Mapping[bool, HourlyLimits]

    def __iter__(self) -> Iterator[pd.DataFrame]:
        return limit_parts(self.limits)


def _limits(
    around: Surroundings,
    connections: Sequence[Connection],
    cases: Sequence[Case],
    largest_kw: float,
    asked: Asked,
    svg_kvar: float | None,
    jobs: int,
    progress: Progress | None,
) -> HourlyLimits:
    stage = "hourly limits" if svg_kvar is None else "hourly limits with an SVG"

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total, stage)

    return hourly_limits(
        around, connections, cases, largest_kw=largest_kw, svg_kvar=svg_kvar, left_out=asked.leave_broken_out,
        jobs=jobs, progress=tell,
    )  # fmt: skip


def _site(inputs: StudyInputs, asked: Asked, feeder: Feeder) -> Site:
    """What is asked of every connection.

    Raises:
        InputError: a budget or size that cannot be, or a profile out of range.
    """
    budgets = sorted(asked.budgets_pct)
    if not budgets or len(set(budgets)) < len(budgets) or not all(0 < b < 100 for b in budgets):
        raise InputError("budgets are different shares of hours or energy", key="--budget", value=list(budgets),
                         allowed="above 0 and below 100 (percent)")  # fmt: skip
    largest_kw = asked.largest_kw
    if largest_kw is None:
        largest_kw = _ROUND_KW * np.ceil(max(_LEAST_KW, _TIMES_LOAD * feeder.load_kw) / _ROUND_KW)
    profile = np.ones(inputs.around.steps)
    if asked.profile is not None:
        profile = np.array(inputs.read(series_spec(asked.profile, "--profile"), "--profile", 0.0, 1.0, "share"))
        if not profile.any():
            raise InputError(
                "the site never wants anything", key="--profile", value=0.0, allowed="0 to 1, not always 0"
            )
    both: tuple[tuple[Per, float], ...] = tuple((per, b / 100) for per in _PER for b in budgets)
    return Site(profile, both, float(largest_kw), asked.battery, asked.shift)


def _base_violations(limits: HourlyLimits) -> pd.DataFrame:
    return check(BASE_VIOLATIONS, limits.base.rename(columns={"name": "element"}))


def _contingencies(limits: HourlyLimits, cases: Sequence[Case]) -> pd.DataFrame:
    unsolved: NDArray[np.bool_] = np.asarray(np.isnan(limits.p_kw).any(axis=1))
    broken = limits.base[limits.base["kind"] != SOLUTION].groupby("case").size()
    rows = [
        {"case": case.name, "outage": in_words(case), "steps_without_solution": int(unsolved[i].sum()),
         "steps_broken": int((limits.base_broken[i] & ~unsolved[i]).sum()),
         "limits_broken": int(broken.get(case.name, 0)), "counted": not bool(unsolved[i].all())}
        for i, case in enumerate(cases)
    ]  # fmt: skip
    return check(CONTINGENCIES, pd.DataFrame(rows))


def _connections(connections: Sequence[Connection]) -> pd.DataFrame:
    rows = [
        {"connection": c.name, "bus": bus, "phases": " ".join(phases), "share": share, "power_factor": c.power_factor}
        for c in connections
        for bus, phases, share in zip(c.buses, c.phases, c.share, strict=True)
    ]
    return check(CONNECTIONS, pd.DataFrame(rows))


def _settings(source: str, asked: Asked, site: Site) -> dict[str, Any]:
    """What was asked for, as a record keeps it."""
    found: dict[str, Any] = {
        "source": source,
        "buses": asked.buses if isinstance(asked.buses, str) else list(asked.buses),
    }
    found |= {"pairs": list(asked.pairs), "largest_kw": site.largest_kw, "power_factor": asked.power_factor}
    found |= {"mean_profile": float(site.profile.mean()), "svg_kvar": asked.svg_kvar,
              "leave_broken_out": asked.leave_broken_out}  # fmt: skip
    for name, means in (("battery", asked.battery), ("shift", asked.shift)):
        found[name] = None if means is None else asdict(means)
    return found


def _told(tables: Mapping[str, pd.DataFrame], site: Site, asked: Asked) -> list[str]:
    """What to know of the results, in sentences."""
    notes = [f"capacities above {site.largest_kw:,.0f} kW were not looked at"]
    cases = tables["contingencies"]
    for row in cases[cases["steps_without_solution"] > 0].to_dict("records"):
        if row["counted"]:
            notes.append(f"case {row['case']}: in {row['steps_without_solution']} steps the feeder has no power flow "
                         "solution by itself; there nothing is limited by it")  # fmt: skip
        else:
            notes.append(f"case {row['case']}: the feeder never has a power flow solution by itself, so the case is "
                         "left out of all capacities")  # fmt: skip
    broken = cases[cases["limits_broken"] > 0]
    if len(broken):
        then = "is left out" if asked.leave_broken_out else "is replaced by 'not made worse'"
        notes.append(f"the feeder breaks limits by itself (cases: {listed(list(broken['case']), _LISTED)}); in these "
                     f"steps such a limit {then}, see the table base_violations")  # fmt: skip
    if site.shift is not None and site.battery is not None:
        notes.append("a battery and work that may wait are looked at one at a time, never together")
    return notes


def _unsolvable(limits: HourlyLimits) -> RunFailure:
    return RunFailure(f"the feeder has no power flow solution without the connections in any step of any case "
                      f"({listed(list(limits.cases), _LISTED)})")  # fmt: skip
