"""What a run decided, from its folder: what is drawn and given where, and how what is given follows the sun."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.errors import InputError, listed
from cosim.grid.feeder.connections import terminals_of
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal
from cosim.grid.feeder.positions import Positions, at_positions, positions_of
from cosim.results.record import RECORD_FILE
from cosim.scenario.forecasts.chance import ChanceSpec, injection_errors
from cosim.scenario.forecasts.spec import ForecastsSpec
from cosim.scenario.loading import load_scenario, validated
from cosim.scenario.preparation import Prepared, PreparedFeeder, prepare, resource_sections
from cosim.scenario.series.spec import SeriesSpec
from cosim.simulation.alone import FeederAlone
from cosim.simulation.rerun import scenario_kept
from cosim.simulation.result import RunResult, stored_run
from cosim.sweep.storage.store import PLAN_FILE

Real = NDArray[np.float64]
LOAD_KEY, PRICE_KEY = "network.load_scale", "market.price_usd_per_mwh"
CURTAILED_KW = 1e-3
"""How far below what the sun allows a plant counts as curtailed."""


@dataclass(frozen=True, slots=True)
class Errs:
    """Errors that a run's scenario does not say, as the section ``network.chance`` would; None: not said."""

    load_std: float | None = None
    sun_std: float | None = None
    correlation: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Plant:
    """A terminal of a plant: what it gives (kW) and the reactive power of it in each step, and what the sun allowed."""

    key: str
    terminal: Terminal
    p_kw: Real
    q_kvar: Real
    available_kw: Real

    def given_kw(self, t: int, share: float, base: float) -> float:
        """What it gives where the sun allows ``share`` and not ``base``: one that is not curtailed all that there is,
        a curtailed one its set-point, or what there is if that is less."""
        if base <= 0:
            return float(self.p_kw[t])
        there = float(self.available_kw[t]) * share / base
        curtailed = self.p_kw[t] < self.available_kw[t] - CURTAILED_KW
        return min(float(self.p_kw[t]), there) if curtailed else there


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """What is fixed of a run, and what is drawn.

    Attributes:
        errors: how series err. series: (steps,) what decisions went by, by key; bounds: of each, lowest and highest.
        delivered: whether steps were decided again on what happened, at the gate of each.
        fixed: of each step (terminal, kW, kvar) of what errors do not move, demand positive.
        feeders: of each step, devices as they stood. alone: knows the limits.
        level: share of cases in which a limit may break; None where the scenario does not say it; joint: how it is
            meant.
    """

    run: RunResult
    prepared: Prepared
    errors: ForecastsSpec
    series: dict[str, Real]
    bounds: dict[str, tuple[float, float]]
    delivered: bool
    fixed: tuple[tuple[tuple[Terminal, float, float], ...], ...]
    plants: tuple[Plant, ...]
    feeders: tuple[Feeder, ...]
    alone: FeederAlone
    level: float | None
    joint: str

    @property
    def steps(self) -> int:
        """Of the horizon."""
        return self.prepared.calendar.steps


def read_decided(folder: Path, errs: Errs = Errs()) -> Decided:  # noqa: B008
    """What the run in a folder decided.

    Raises:
        InputError: no finished run of one feeder in the folder, inputs that changed, or nothing that errs.
    """
    runs = sorted(found.parent for found in folder.glob(f"*/{RECORD_FILE}"))
    if not (folder / RECORD_FILE).exists() and runs:
        raise InputError("several runs are in this folder, and one is evaluated", file=folder,
                         allowed=listed([str(run) for run in runs], 4))  # fmt: skip
    if (folder / PLAN_FILE).is_file():
        raise InputError("the folder of a sweep, whose runs keep tables alone", file=folder,
                         allowed="the folder of a run, as cosim run makes it")  # fmt: skip
    run = stored_run(folder)
    path, _ = scenario_kept(folder)
    return decided_of(run, prepare(*load_scenario(path)), errs)


def decided_of(run: RunResult, prepared: Prepared, errs: Errs = Errs()) -> Decided:  # noqa: B008
    """The same of a run at hand and its scenario."""
    only = prepared.only
    scenario, feeder = prepared.scenario, only.feeder
    suns = _suns(only)
    series = {LOAD_KEY: only.load_scale, PRICE_KEY: only.price_usd_per_mwh}
    series |= {key: sun for key, sun, _ in suns.values()}
    bounds = {LOAD_KEY: (0.0, np.inf), PRICE_KEY: (-np.inf, np.inf)}
    chance = scenario.network.chance
    keys = [LOAD_KEY, *(key for key, _, _ in suns.values())]
    errors = injection_errors(_said(chance, errs), scenario.forecasts, keys)
    units = _units(run)
    steps = prepared.calendar.steps
    fixed: list[list[tuple[Terminal, float, float]]] = [[] for _ in range(steps)]
    places: dict[str, str] = dict(zip(run.layout.units["unit"], run.layout.units["bus"], strict=True))
    plants = []
    for (unit, phase), rows in units:
        owner = _owner(unit, phase, suns)
        bus = places.get(unit, places.get(owner or unit.rpartition(".")[0], ""))
        terminal = terminals_of(feeder, bus, "three_phase" if phase == "abc" else phase, f"dispatch.{unit}")[0]
        p, q = (_by_step(rows, column, steps) for column in ("p_kw", "q_kvar"))
        if owner is None:
            for t in range(steps):
                fixed[t].append((terminal, float(p[t]), float(q[t])))
            continue
        key, sun, p_max_kw = suns[owner]
        count = sum(_owner(u, ph, suns) == owner for (u, ph), _ in units)
        plants.append(Plant(key, terminal, -p, -q, p_max_kw / count * sun))
    return Decided(
        run, prepared, errors, series, {**bounds, **{key: (0.0, 1.0) for key, _, _ in suns.values()}},
        not scenario.forecasts.foresees, tuple(tuple(step) for step in fixed), tuple(plants),
        _feeders(feeder, run, steps), FeederAlone(feeder, only.limits),
        None if chance is None else 1 - chance.probability, "individual" if chance is None else chance.joint,
    )  # fmt: skip


def _said(chance: ChanceSpec | None, errs: Errs) -> ChanceSpec:
    """The section of the scenario with what is said beside it."""
    found = ChanceSpec() if chance is None else chance
    said = {key: value for key, value in asdict(errs).items() if value}
    return validated(ChanceSpec, {**found.model_dump(), **said}, "network.chance")


def _suns(prepared: PreparedFeeder) -> dict[str, tuple[str, Real, float]]:
    """Key of the sun, its series, and the largest power (kW) of each plant, by name."""
    found = {}
    for at, section in resource_sections(prepared.scenario):
        own = section.own_keys()
        if own.get("profile") is not None and "p_max_kw" in own:
            spec = validated(SeriesSpec, own["profile"], f"{at}.profile")
            sun = prepared.series(spec, f"{at}.profile", 0.0, 1.0, "share")
            found[section.name] = (f"{at}.profile", np.array(sun), float(own["p_max_kw"]))
    return found


def _units(run: RunResult) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Everything that is connected, by name and phase: data centers, then units of the operator; demand positive."""
    demand = run.demand.rename(columns={"datacenter": "unit"})[["step", "unit", "phase", "p_kw", "q_kvar"]]
    given = run.dispatch[run.dispatch["kind"] != "import"][["step", "unit", "phase", "p_kw", "q_kvar"]]
    given = given.assign(p_kw=-given["p_kw"], q_kvar=-given["q_kvar"])
    both = pd.concat([demand, given], ignore_index=True)
    return [((str(unit), str(phase)), rows) for (unit, phase), rows in both.groupby(["unit", "phase"], sort=True)]


def _owner(unit: str, phase: str, suns: dict[str, tuple[str, Real, float]]) -> str | None:
    """The plant that a unit is, or is a terminal of; None for all else."""
    if unit in suns:
        return unit
    name = unit.removesuffix(f".{phase}")
    return name if name in suns else None


def _by_step(rows: pd.DataFrame, column: str, steps: int) -> Real:
    found = np.zeros(steps)
    found[rows["step"].to_numpy(dtype=int)] = rows[column].to_numpy(dtype=float)
    return found


def _feeders(feeder: Feeder, run: RunResult, steps: int) -> tuple[Feeder, ...]:
    """The feeder with its devices as they stood in each step."""
    taps = run.taps
    if not len(taps):
        return (feeder,) * steps
    own = positions_of(feeder)
    known: dict[Positions, Feeder] = {}
    found = []
    for t in range(steps):
        rows: Sequence[dict[str, object]] = taps[taps["step"] == t].to_dict("records")  # type: ignore[assignment]
        at = {(str(r["device"]), str(r["phase"])): int(str(r["position"])) for r in rows if r["kind"] == "regulator"}
        on = {str(r["device"]): int(str(r["position"])) for r in rows if r["kind"] == "capacitor"}
        here = Positions(
            tuple((name, unit, at.get((name, unit), tap)) for name, unit, tap in own.taps),
            tuple((name, on.get(name, count)) for name, count in own.steps),
        )
        found.append(known.setdefault(here, at_positions(feeder, here)))
    return tuple(found)

