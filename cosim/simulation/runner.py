"""One run from scenario to results, and several modes side by side: what the command line and users call."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from cosim.errors import InputError, RunFailure
from cosim.grid.opendss.circuit import AcCircuit, AcSolution
from cosim.results.accounts.totals import baseline_among, gains, write_gains
from cosim.results.comparison import comparison_table, write_comparison
from cosim.results.folders import ResultFolder, RunFolder
from cosim.results.kpis import RunFacts, compute_kpis
from cosim.results.record import ErrorNote, Record, run_id, utc_now, versions
from cosim.results.spool import Kept, Shelf, Spool, StoredTables
from cosim.results.tables import Layout, Tables
from cosim.results.underway.writing import Underway
from cosim.scenario.inputs.keeping import keep_inputs
from cosim.scenario.inputs.manifest import SCENARIO_COPY
from cosim.scenario.inputs.named import named_inputs
from cosim.scenario.loading import files_read, load_scenario, merged_lists
from cosim.scenario.modes import COMPARED
from cosim.scenario.own_code import code_named_by
from cosim.scenario.preparation import Prepared, PreparedFeeder, check_base_case, naming_file, prepare
from cosim.scenario.schema import Scenario
from cosim.simulation.alone import broken_alone
from cosim.simulation.books import Books
from cosim.simulation.forget import forgetting
from cosim.simulation.notes import run_notes
from cosim.simulation.placement import Symbols, layout_of
from cosim.simulation.result import Comparison as Comparison
from cosim.simulation.result import RunResult as RunResult
from cosim.simulation.simulation import Simulation
from cosim.simulation.variants import Given, Variant, variants_of, with_baseline

Progress = Callable[[int, int, str], None]


@forgetting()
def run(
    scenario: str | Path,
    mode: str | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
    figures: bool = True,
) -> RunResult:
    """Simulate a scenario.

    Args:
        scenario: name of a shipped scenario, or path of a scenario file.
        mode, seed: instead of the scenario's.
        overrides: other keys, dotted, as ``{"network.v_min_pu": 0.94}``.
        out: folder to leave the results in (record, scenario, tables, figures, report); None keeps them in memory.
        force: replace a folder of earlier results.
        progress: called with (steps done, steps in all, what is being done).
        figures: draw figures for the report, and write the interactive page; without them there is a report of tables.

    Raises:
        InputError: something in the input cannot be used; nothing is written.
        RunFailure: the run could not be finished; the folder then holds a record that says why.
    """
    ready = _ready(scenario, _with_choice(overrides, mode, seed))
    return _run_ready(ready, out, force, progress, figures)


@forgetting()
def simulate(scenario: Scenario, path: Path, progress: Progress | None = None) -> RunResult:
    """Simulate a scenario that has been read and checked; the results stay in memory.

    Args:
        path: its file; what it names is looked for beside it.

    Raises:
        InputError, RunFailure: see :func:`run`.
    """
    return _run_ready(Simulation(prepare(scenario, path)), None, False, progress)


@forgetting()
def compare(
    scenario: str | Path,
    modes: Sequence[str] | Mapping[str, Given] = COMPARED,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
    figures: bool = True,
    baseline: str | None = None,
) -> Comparison:
    """Simulate a scenario in several modes on the same hours; arguments and errors as :func:`run`.

    A mode that fails is reported in ``failures`` and leaves a failed record; the others are kept. The folder appears
    when all modes are done.

    Args:
        modes: names, with settings as ``"decentralized(rule=tariff)"``, or a mapping of names of one's own to modes;
            see :func:`cosim.simulation.variants.variants_of`.
        baseline: name of the mode that gains are measured against; by default the first uncoordinated one, or else the
            first. ``without_data_centers`` is run besides if it is not among them.
    """
    variants = with_baseline(variants_of(modes), baseline)
    kinds = {v.name: v.mode if v.datacenters else "" for v in variants}
    baseline_among([*kinds], kinds, baseline)
    ready = {
        v.name: _ready(scenario, _with_choice({**(overrides or {}), **v.changes}, v.mode, seed), v) for v in variants
    }
    return compare_ready(ready, kinds, out, force, progress, figures, baseline)


def compare_ready(
    ready: Mapping[str, Simulation],
    kinds: Mapping[str, str],
    out: str | Path | None,
    force: bool = False,
    progress: Progress | None = None,
    figures: bool = True,
    baseline: str | None = None,
) -> Comparison:
    """Run simulations on the same hours that are set up, and put them side by side; see :func:`compare`.

    Args:
        ready: by name. kinds: the mode of each.
    """
    if out is None:
        results, failures, records = _compared(ready, None, progress, figures)
        against = _against(results, kinds, baseline)
        return Comparison(comparison_table(records), results, failures, None, against)
    from cosim.results.pages.runs import write_report_and_page  # what a report needs: only where one is written

    name = next(iter(ready.values())).prepared.scenario.name
    with ResultFolder(out, force=force) as folder, Underway(folder.path, "comparison", name, modes=[*ready]) as watch:
        results, failures, records = _compared(ready, folder.path, watch.also(progress), figures)
        table = write_comparison(records, folder.path)
        against = _against(results, kinds, baseline)
        write_gains(gains({mode: r.tables for mode, r in results.items()}, against), folder.path)
        write_report_and_page(folder.path, figures)
    placed = {
        mode: replace(r, tables=StoredTables(folder.out / mode, keep=True), folder=Path(out) / mode)
        for mode, r in results.items()
    }
    return Comparison(table, placed, failures, Path(out), against)


def _against(results: Mapping[str, RunResult], kinds: Mapping[str, str], asked: str | None) -> str:
    """Name of the mode that gains are measured against, even if it has failed."""
    if asked is not None or not results:
        return asked or ""
    return baseline_among([*results], kinds)


def _compared(
    ready: Mapping[str, Simulation], folder: Path | None, progress: Progress | None, figures: bool
) -> tuple[dict[str, RunResult], dict[str, str], dict[str, Record]]:
    """Result, failure and record of each mode; their folders below ``folder``, if there is one."""
    results, failures, records = {}, {}, {}
    for i, (mode, simulation) in enumerate(ready.items()):
        place = None if folder is None else folder / mode
        try:
            results[mode] = _run_ready(simulation, place, False, _part(progress, i, len(ready), mode), figures, False)
            records[mode] = results[mode].record
        except RunFailure as error:
            failures[mode] = str(error)
            draft = _draft(simulation.prepared, "")
            records[mode] = replace(draft, status="failed", error=ErrorNote("RunFailure", str(error)))
    return results, failures, records


def _with_choice(overrides: Mapping[str, Any] | None, mode: str | None, seed: int | None) -> dict[str, Any]:
    chosen = {"mode": mode, "seed": seed}
    return {**(overrides or {}), **{k: v for k, v in chosen.items() if v is not None}}


def _part(progress: Progress | None, index: int, count: int, name: str) -> Progress | None:
    """Progress of one run among several."""
    if progress is None:
        return None
    return lambda done, total, text: progress(index * total + done, count * total, f"{name}: {text}")


def _ready(scenario: str | Path, overrides: Mapping[str, Any], variant: Variant | None = None) -> Simulation:
    """A simulation that could be set up, so that bad input is refused before an output folder is touched."""
    loaded, path = load_scenario(scenario, overrides)
    return Simulation(prepare(loaded if variant is None else variant.of(loaded), path))


def _run_ready(
    simulation: Simulation, out: str | Path | None, force: bool, progress: Progress | None, figures: bool = True,
    page: bool = True,
) -> RunResult:  # fmt: skip
    """Run a simulation that is set up; ``page``: write its interactive page, which else a comparison writes."""
    text = scenario_text(simulation.prepared.scenario)
    draft = _draft(simulation.prepared, text)
    if out is None:
        record, tables, layout = _simulate(simulation, draft, progress, Kept())
        return RunResult(record, tables, layout, None)
    from cosim.results.pages.runs import write_report_and_page  # what a report needs: only where one is written

    try:
        with RunFolder(out, draft, text, force=force) as folder, Underway.of(draft, folder.path) as watch:
            problems = _keep_inputs(simulation.prepared, folder.path)
            spool = Spool(folder.path, watch.see)
            record, _, layout = _simulate(simulation, draft, watch.also(progress), spool)
            record = replace(record, notes=(*record.notes, *problems))
            watch.say("writing the report")
            folder.save(record, layout)
            write_report_and_page(folder.path, figures, page)
    except OSError as error:
        raise RunFailure(f"the results cannot be written to {out} ({error.strerror or error})") from error
    return RunResult(record, StoredTables(folder.out, keep=True), layout, Path(out))


def _keep_inputs(prepared: Prepared, folder: Path) -> tuple[str, ...]:
    """Keep what a run is made from beside its results, and return what could not be."""
    scenario = prepared.scenario
    data = scenario.model_dump(mode="json")
    code = code_named_by(scenario).values()
    bases = files_read(prepared.path)[1:]
    return keep_inputs(folder, prepared.path, {SCENARIO_COPY: data}, named_inputs(data), code, bases).problems


def scenario_text(scenario: Scenario) -> str:
    """The effective scenario as YAML, its base merged and all defaults written out."""
    return yaml.safe_dump(scenario.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)


def _draft(prepared: Prepared, text: str) -> Record:
    """What is known of a run before it starts."""
    scenario = prepared.scenario
    limits = {f.name: f.voltage_limits for f in prepared.feeders}
    only = limits.pop("", None)
    return Record(
        run_id=run_id(text, scenario.mode, scenario.seed),
        scenario=scenario.name,
        mode=scenario.mode,
        market=scenario.clock.market,
        seed=scenario.seed,
        step_s=scenario.clock.step_s,
        limits=only,
        feeder_limits=limits,
        versions=versions(),
        started=utc_now(),
    )


def _simulate(
    simulation: Simulation, draft: Record, progress: Progress | None, shelf: Shelf
) -> tuple[Record, Tables, Layout]:
    prepared = simulation.prepared
    started = time.perf_counter()
    try:
        books = simulation.run(progress, shelf)
    except (InputError, RunFailure):
        raise
    except Exception as error:
        raise RunFailure(f"the simulation stopped: {type(error).__name__}: {error}") from error
    wall_s = time.perf_counter() - started
    tables = books.tables()
    limits = draft.voltage_limits
    facts = replace(_facts(prepared, books, wall_s), perfect_usd=_perfect_usd(simulation, tables))
    record = replace(
        draft,
        solver=", ".join(sorted({o.solver for o in books.outcomes})),
        wall_times_s={"simulation": wall_s, "solver": facts.solver_s or 0.0},
        kpis=compute_kpis(tables, facts, limits),
        notes=(*prepared.notes, *books.notes, *run_notes(prepared, tables, limits)),
        certificate=_certificate(books),
    )
    seats = simulation.market.operator.seats
    symbols: dict[str, Symbols] = {seat.feeder: getattr(seat.operator, "symbols", dict)() for seat in seats}
    return record, tables, layout_of(prepared, symbols)


def _facts(prepared: Prepared, books: Books, wall_s: float) -> RunFacts:
    """What the tables cannot say, over all windows."""
    gaps = [o.gap for o in books.outcomes if o.gap is not None]
    regrets = [o.regrets_usd for o in books.outcomes if o.regrets_usd is not None]
    return RunFacts(
        step_hours=prepared.calendar.step_hours,
        welfare_usd=books.welfare_usd,
        mip_gap=max(gaps) if gaps else None,
        dca_regret_usd=sum(r[0] for r in regrets) if regrets else None,
        dso_regret_usd=sum(r[1] for r in regrets) if regrets else None,
        expected_usd=_expected_usd(books),
        wall_s=wall_s,
        solver_s=sum(o.solver_s for o in books.outcomes),
    )


def _expected_usd(books: Books) -> tuple[float, float, float] | None:
    """(expected cost, value of the stochastic solution, of perfect information), where that was worked out."""
    found = [(w.recourse_usd, w.stochastic_usd, w.perfect_information_usd) for w in books.worth]
    if not found:
        return None
    expected, stochastic, information = (sum(part) for part in zip(*found, strict=True))
    return expected, stochastic, information


def _perfect_usd(simulation: Simulation, tables: Tables) -> tuple[float, float] | None:
    """(social cost, cost of the data centers) of the same scenario with perfect forecasts, where that is asked for."""
    prepared = simulation.prepared
    if not prepared.scenario.results.value_of_information:
        return None
    if simulation.information is not None:
        tables = Simulation(prepared, foresight=True).run().tables()
    steps = tables.steps
    return float(steps["social_cost_usd"].sum()), float(
        steps["dca_payment_usd"].sum() + steps["dca_own_cost_usd"].sum()
    )


def _certificate(books: Books) -> dict[str, Any] | None:
    """The certificate of the run, window by window if there are several."""
    found = [o.certificate for o in books.outcomes if o.certificate is not None]
    if not found:
        return None
    return found[0] if len(found) == 1 else {f"window {i}": c for i, c in enumerate(found)}


@dataclass(frozen=True, slots=True)
class Validation:
    """Findings of :func:`validate`: (check, outcome) lines."""

    lines: tuple[tuple[str, str], ...]


def validate(scenario: str | Path, overrides: Mapping[str, Any] | None = None, import_code: bool = False) -> Validation:
    """Check a scenario without running it: schema, feeder, series, work that fits, base case in AC.

    It makes every check that :func:`run` makes before it runs.

    Args:
        import_code: whether modules that the scenario names (agents, update rules of a user's own) may be imported,
            which runs their code. Otherwise the lines name them, and what their classes would check is left out.

    Raises:
        InputError: whatever cannot be used.
    """
    loaded, path = load_scenario(scenario, overrides)
    prepared = prepare(loaded, path)
    own_code = {} if import_code else code_named_by(loaded)
    lines = [
        ("scenario", f"{loaded.name}, mode {loaded.mode}, {loaded.clock.steps} steps of {loaded.clock.step_s} s"),
        *(line for f in prepared.feeders for line in _described(f)),
        *(("merged", told) for told in merged_lists(path)),
    ]
    if own_code:
        cases = [_base_case(f) for f in prepared.feeders]
        lines += [(key, f"{named}: not imported, so not checked (--import does)") for key, named in own_code.items()]
    else:
        cases = Simulation(prepared).base_cases()
        lines.append(("work", "fits the capacity of the data centers within its deadlines"))
    with naming_file(path):
        units = len(layout_of(prepared).units)
    lines.append(("placement", f"{units} units on the feeder{'s' if len(prepared.feeders) > 1 else ''}"))
    for f, ac in zip(prepared.feeders, cases, strict=True):
        volts = ac.voltages.values()
        beyond = int((f.voltage_limits.beyond((bus for bus, _ in ac.voltages), volts) > 0).sum())
        words = f"{beyond} of {len(volts)} outside the limits" if beyond else "within limits"
        told = f"{min(volts):.4f} to {max(volts):.4f} pu at peak load without data centers: {words}"
        lines.append((_titled(f, "base case, AC"), told))
        lines += [(_titled(f, "base case, limits"), told) for told in broken_alone(f)]
    return Validation(tuple(lines))


def _titled(prepared: PreparedFeeder, what: str) -> str:
    """What is checked, with the name of the feeder if it has one."""
    return f"{what}, {prepared.name}" if prepared.name else what


def _described(prepared: PreparedFeeder) -> list[tuple[str, str]]:
    """A feeder and its series in words."""
    feeder, scale, price = prepared.feeder, prepared.load_scale, prepared.price_usd_per_mwh
    return [
        (_titled(prepared, "feeder"), f"{feeder.name}: {len(feeder.buses)} buses, {len(feeder.branches)} branches, "
                                      f"{len(feeder.loads)} loads"),
        (_titled(prepared, "series"), f"price {price.min():g} to {price.max():g} USD/MWh, "
                                      f"load {scale.min():g} to {scale.max():g} of base"),
    ]  # fmt: skip


def _base_case(prepared: PreparedFeeder) -> AcSolution:
    """AC solution of a feeder alone at peak load.

    Raises:
        InputError: there is none.
    """
    peak = float(prepared.load_scale.max())
    solution = AcCircuit(prepared.feeder).solve(peak)
    with naming_file(prepared.path), prepared.part.naming_keys():
        check_base_case(solution, peak)
    return solution
