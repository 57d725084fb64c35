"""The command line: ``cosim new | run | compare | sweep | hosting | view | rerun | validate | report | ...``.

Exit codes: 0 done, 1 the run failed, 2 the input is wrong. Results go to stdout, errors and progress to
stderr, and progress only if that is a terminal. Everything heavy is imported when a command runs.
"""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from cosim.cli.evaluate import evaluate_command
from cosim.cli.exit_codes import exit_codes as _exit_codes
from cosim.cli.feeder import feeder_app
from cosim.cli.hosting import hosting_command
from cosim.cli.keys import explain_command, schema_command
from cosim.cli.new import new_command
from cosim.cli.options import ForceOption, OutOption
from cosim.cli.printing import free_folder, print_notes, progress_bar, say_where, stdout
from cosim.cli.summaries import (
    comparison_as_json,
    print_broken,
    print_cap_notes,
    print_gains,
    print_kpis,
    print_limits,
    print_sheet,
    run_as_json,
)
from cosim.cli.sweep import parsed_changes, sweep_command
from cosim.cli.view import view_command
from cosim.errors import InputError, RunFailure
from cosim.scenario.modes import COMPARED, MODES

Result = TypeVar("Result")
ALL_MODES = ",".join(MODES)

app = typer.Typer(
    name="cosim",
    help="Agent-based co-simulation of data centers and the distribution grid.",
    epilog="Exit codes: 0 done, 1 the run failed, 2 the input is wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(feeder_app)
app.command("new")(new_command)
app.command("sweep")(sweep_command)
app.command("hosting")(hosting_command)
app.command("evaluate")(evaluate_command)
app.command("schema")(schema_command)
app.command("explain")(explain_command)
app.command("view")(view_command)

_NEW_OBJECTS = 20_000
"""After how many new objects Python looks for circles among them: at its usual 700 that is 7 % of the time of a run."""

ScenarioArgument = Annotated[
    str, typer.Argument(help="A shipped scenario by name, or the path of a YAML file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, as network.v_min_pu=0.96; merges as files do."),
]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Seed of all random numbers.")]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Number of market steps (clock.steps).")]
ImportOption = Annotated[
    bool, typer.Option("--import", help="Import the modules that the scenario names as well: this runs their code.")
]
FiguresOption = Annotated[
    bool, typer.Option("--no-figures", help="Draw no figures and no interactive page: the report has its tables alone.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Tell nothing but errors.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Tell the outcome as one JSON object, for programs.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"cosim {version('cosim-grid')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Agent-based co-simulation of data centers and the distribution grid."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal or pipe without Unicode is written to all the same
            stream.reconfigure(errors="backslashreplace")
    gc.set_threshold(_NEW_OBJECTS)  # the process is this command's own


@app.command()
def run(
    scenario: ScenarioArgument,
    mode: Annotated[str | None, typer.Option(help=f"Mode of coordination: {ALL_MODES}.")] = None,
    seed: SeedOption = None,
    changes: SetOption = None,
    steps: StepsOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    no_figures: FiguresOption = False,
    perfect: Annotated[
        bool, typer.Option("--perfect", help="Run with perfect forecasts too, to say what they would have been worth.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run one scenario in one mode; leaves tables, figures and a report."""
    with _exit_codes():
        import cosim
        from cosim.results.accounts.deviations import deviation_sheet
        from cosim.results.limit_table import summary_rows

        overrides = _overrides(changes, steps)
        if perfect:
            overrides["results.value_of_information"] = True
        folder = out or free_folder(scenario, mode or "")
        with progress_bar(f"{Path(scenario).stem}", quiet) as progress:
            result = _or_say_where(
                folder,
                lambda: cosim.run(
                    scenario,
                    mode=mode,
                    seed=seed,
                    overrides=overrides,
                    out=folder,
                    force=force,
                    progress=progress,
                    figures=not no_figures,
                ),
            )
        if as_json:
            typer.echo(run_as_json(result, folder))
        elif not quiet:
            print_kpis({"value": result.kpis})
            print_limits(summary_rows(result.tables.limits, result.record.step_hours))
            print_sheet(deviation_sheet(result.tables.deviations, result.record.step_hours))
            print_notes(result.record.notes)
            say_where(folder)


@app.command()
def compare(
    scenario: ScenarioArgument,
    modes: Annotated[
        str,
        typer.Option(
            help="Modes to compare, separated by commas, with settings as decentralized(rule=tariff); or a YAML file "
            "of named ones."
        ),
    ] = ",".join(COMPARED),
    baseline: Annotated[
        str | None, typer.Option(help="Mode that gains are measured against; by default uncoordinated, or the first.")
    ] = None,
    seed: SeedOption = None,
    changes: SetOption = None,
    steps: StepsOption = None,
    out: OutOption = None,
    force: ForceOption = False,
    no_figures: FiguresOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run one scenario in several modes on the same hours and put them side by side."""
    with _exit_codes():
        import cosim

        overrides = _overrides(changes, steps)
        chosen = _modes(modes)
        folder = out or free_folder(scenario, "compare")
        with progress_bar(f"{Path(scenario).stem}", quiet) as progress:
            result = cosim.compare(
                scenario,
                modes=chosen,
                seed=seed,
                overrides=overrides,
                out=folder,
                force=force,
                progress=progress,
                figures=not no_figures,
                baseline=baseline,
            )
        table = result.table
        if as_json:
            typer.echo(comparison_as_json(result, folder))
        elif not quiet:
            print_kpis({str(m): table.loc[m].drop("status", errors="ignore").to_dict() for m in table.index})
            print_gains(result)
            print_broken(result)
            print_cap_notes({mode: run.notes for mode, run in result.runs.items()})
            say_where(folder)
        failed = [str(m) for m in table.index if "status" in table and table.loc[m, "status"] != "ok"]
        if failed:
            raise RunFailure(f"failed: {', '.join(failed)}; the record in each mode's folder says why")


@app.command()
def validate(
    scenario: ScenarioArgument, changes: SetOption = None, steps: StepsOption = None, import_code: ImportOption = False
) -> None:
    """Check a scenario: schema, feeder, series, and the base case in AC power flow. Runs nothing."""
    with _exit_codes():
        import cosim

        result = cosim.validate(scenario, overrides=_overrides(changes, steps), import_code=import_code)
        table = Table(box=None, show_header=False, pad_edge=False)
        for check, outcome in result.lines:
            table.add_row(str(check), str(outcome))
        stdout().print(table)


@app.command()
def report(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of a run, a comparison, a sweep or a hosting study.")
    ],
    no_figures: FiguresOption = False,
) -> None:
    """Redo the figures and the HTML report of a results folder."""
    with _exit_codes():
        write_report, write_page = _drawn_by(out)
        typer.echo(f"Report: {write_report(out, not no_figures)}")
        if not no_figures:
            typer.echo(f"Page: {write_page(out)}")


def _drawn_by(out: Path) -> tuple[Callable[[Path, bool], Path], Callable[[Path], Path]]:
    """What writes the report and the page of a folder, by what is in it."""
    if (out / "plan.json").is_file():
        from cosim.sweep.reading import read_sweep
        from cosim.sweep.run import finish

        return lambda folder, figures: finish(read_sweep(folder), figures), lambda folder: folder / "page.html"
    from cosim.hosting.study.result import is_hosting

    if is_hosting(out):
        from cosim.hosting.study.page import write_hosting_page
        from cosim.hosting.study.report import write_hosting_report

        return write_hosting_report, write_hosting_page
    from cosim.sweep.evaluation.result import is_evaluation

    if is_evaluation(out):
        from cosim.sweep.evaluation.page import write_evaluation_page
        from cosim.sweep.evaluation.report import write_evaluation_report

        return write_evaluation_report, write_evaluation_page
    from cosim.results.pages.runs import write_pages
    from cosim.results.report import write_report

    return write_report, write_pages


@app.command()
def rerun(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a run, a comparison or a sweep.")],
    out: OutOption = None,
    force: ForceOption = False,
    no_figures: FiguresOption = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs of a sweep at a time.")] = None,
) -> None:
    """Run a folder of results again from its own inputs, and compare the tables byte for byte (0: the same, 1: not).

    This imports the modules among the inputs, which runs their code.
    """
    with _exit_codes():
        import cosim
        from cosim.simulation.rerun import surroundings_in_words

        place = out or free_folder(folder.resolve().name, "rerun")
        with progress_bar(folder.name) as progress:
            found = cosim.rerun(folder, place, force, progress, not no_figures, workers)
        for line in surroundings_in_words(found.surroundings):
            typer.echo(f"Different now: {line}")
        typer.echo(f"The same byte for byte: {len(found.compared) - len(found.differing)} of {len(found.compared)}")
        typer.echo(f"Results: {place}")
        if not found.identical:
            lines = [f"  {name}: {how}" for name, how in found.differing.items()]
            raise RunFailure("\n".join(["the results are not the same", *lines[:20]]))


def _or_say_where(folder: Path, work: Callable[[], Result]) -> Result:
    """Do the work; a failure says where the record of it is."""
    try:
        return work()
    except RunFailure as error:
        record, program = folder / "record.json", folder / "unsolved_program.npz"
        kept = [("record", record), ("program", program)]
        where = "".join(f"\n  {name + ':':<9}{path}" for name, path in kept if path.is_file())
        raise RunFailure(f"{error}{where}") from error


def _overrides(changes: Sequence[str] | None, steps: int | None) -> dict[str, Any]:
    """What ``--set`` and ``--steps`` change, by dotted key."""
    overrides = parsed_changes(list(changes or []))
    if steps is not None:
        overrides["clock.steps"] = steps
    return overrides


def _modes(text: str) -> list[str] | dict[str, Any]:
    """Modes of a list with commas, each at most once, or what a YAML file says.

    Raises:
        InputError: none, an unknown one, or one that is named twice.
    """
    from cosim.simulation.variants import split_modes, variants_of
    from cosim.yaml_reading import read_yaml

    if text.endswith((".yaml", ".yml")):
        named = read_yaml(Path(text), "a list of named modes")
        try:
            variants_of(named)
        except InputError as error:
            raise error.changed(file=text) from None
        return named
    modes = split_modes(text)
    variants_of(modes, "--modes")
    twice = [m for m in modes if modes.count(m) > 1]
    if twice:
        raise InputError("a mode named twice", key="--modes", value=twice[0], allowed=ALL_MODES)
    return modes


if __name__ == "__main__":
    app()
