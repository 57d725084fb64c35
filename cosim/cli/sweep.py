"""``cosim sweep``: the plan of an experiment, its runs with their progress, and where the results are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cosim.cli.exit_codes import exit_codes
from cosim.cli.printing import say_page
from cosim.errors import InputError, RunFailure

if TYPE_CHECKING:
    from cosim.sweep.reading import Sweep
    from cosim.sweep.run import Outlook

EXIT_INTERRUPTED = 130
_MOST_REPAIRS = 10
Told = Callable[[int, int, int, str], None]


def sweep_command(
    experiment: Annotated[str, typer.Argument(help="A shipped experiment by name, or the path of a YAML file.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and leave; nothing is written, no code of yours is run.")
    ] = False,
    importing: Annotated[
        bool, typer.Option("--import", help="With --dry-run: import the code that is named, to see that it is there.")
    ] = False,
    engine: Annotated[str, typer.Option(help="Who does the runs: pool, dask, or serial.")] = "pool",
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, as tcp://host:8786.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at a time; one per processor by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the sweep in the folder.")] = False,
    only_failed: Annotated[bool, typer.Option("--only-failed", help="Do the runs again that failed.")] = False,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the scenario in all runs; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the sweep; by default results/NAME.")] = None,
    no_figures: Annotated[
        bool, typer.Option("--no-figures", help="Draw no figures: the report has its tables alone.")
    ] = False,
) -> None:
    """Run an experiment: many runs, side by side; what is complete stays, whatever happens."""
    with exit_codes():
        from cosim.sweep.engine import check_engine
        from cosim.sweep.plan import make_plan, named_code
        from cosim.sweep.run import outlook, run_sweep
        from cosim.sweep.storage.store import Store

        check_engine(engine, scheduler)
        plan = make_plan(experiment, parsed_changes(changes), importing=importing or not dry_run)
        folder = out or Path("results") / plan.experiment.name
        store = Store(folder)
        if not dry_run:
            store.refuse_or_resume(resume=resume, only_failed=only_failed)
            store.open()
        unseen = named_code(plan) if dry_run and not importing else []
        _print_plan(outlook(plan, store, only_failed, workers), store, unseen)
        if dry_run:
            return
        try:
            with _bars(plan.experiment.name) as progress:
                found = run_sweep(
                    plan, folder, engine=engine, scheduler=scheduler, workers=workers, resume=resume,
                    only_failed=only_failed, progress=progress, figures=not no_figures,
                )  # fmt: skip
        except KeyboardInterrupt:
            typer.echo(f"Interrupted; what is complete is kept. To go on: cosim sweep {experiment} --resume"
                       f" --out {folder}", err=True)  # fmt: skip
            raise typer.Exit(EXIT_INTERRUPTED) from None
        _print_outcome(found, folder)


def parsed_changes(changes: list[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` texts as a dictionary; values are YAML, so 0.96, true and [a, b] mean what they say.

    Raises:
        InputError: no ``=``, no key, or a value that is not YAML.
    """
    from cosim.yaml_reading import parse_yaml

    parsed: dict[str, Any] = {}
    for change in changes or []:
        key, separator, text = change.partition("=")
        if not separator or not key.strip():
            raise InputError("not a change of a key", key="--set", value=change, allowed="KEY=VALUE")
        try:
            parsed[key.strip()] = parse_yaml(text)
        except InputError as error:
            raise InputError(error.message, key=key.strip(), value=text, allowed=error.allowed) from None
    return parsed


def _print_plan(todo: Outlook, store: Any, unseen: Sequence[str]) -> None:
    plan, experiment = todo.plan, todo.plan.experiment
    table = Table(box=None, show_header=False, pad_edge=False)
    seeds = f" x {experiment.replicates} seeds" if experiment.replicates else ""
    modes = dict.fromkeys(run.mode for run in plan.runs)
    points = len(plan.runs) // (len(modes) * (experiment.replicates or 1))
    table.add_row("experiment", experiment.name)
    for name in experiment.factors:
        values = list(dict.fromkeys(_text(run.factors[name]) for run in plan.runs))
        few = ", ".join(values) if len(values) <= 6 else f"{', '.join(values[:3])}, ... {values[-1]} ({len(values)})"
        table.add_row(f"  {name}", few)
    table.add_row("runs", f"{len(plan.runs)}: {_count(points, 'point')} x {_count(len(modes), 'mode')}{seeds}")
    if todo.done:
        failed = f", of them {todo.failed} failed" if todo.failed else ""
        table.add_row("complete", f"{todo.done}{failed}")
    if todo.survey.damaged:
        table.add_row("damaged", f"{len(todo.survey.damaged)}, to be run again")
    table.add_row("to do", str(len(todo.due)))
    rests_on = "from timed runs" if todo.timed else "a rough guess"
    if todo.due:
        with_workers = f"with {_count(todo.workers, 'worker')} ({rests_on})"
        table.add_row("time", f"about {_duration(todo.estimate_s)} {with_workers}")
    if unseen:
        table.add_row("code", f"{', '.join(unseen)} (not imported; --import does)")
    table.add_row("folder", str(store.root))
    Console(markup=False, highlight=False).print(table)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def _bars(title: str) -> Iterator[Told | None]:
    """Runs done, failed, rate and time left on stderr if that is a terminal, else None."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(title, total=None, pace="starting")
        first: list[int] = []

        def tell(done: int, failed: int, total: int, text: str) -> None:
            if not first:
                first.append(done)
            seconds = bars.tasks[0].elapsed or 0.0
            bars.update(task, completed=done, total=total, pace=pace(done - first[0], failed, total - done, seconds))

        yield tell


def pace(done: int, failed: int, left: int, seconds: float) -> str:
    """Failures, rate and time left in words."""
    words = [f"{failed} failed"] if failed else []
    if done and seconds > 0:
        rate = done / seconds
        words += [f"{rate:.2g} runs/s", f"{_duration(left / rate)} left"]
    return ", ".join(words)


def _print_outcome(found: Sweep, folder: Path) -> None:
    for repair in found.repairs[:_MOST_REPAIRS]:
        typer.echo(f"Note: {repair}", err=True)
    if len(found.repairs) > _MOST_REPAIRS:
        typer.echo(f"... and {len(found.repairs) - _MOST_REPAIRS} more notes in {folder / 'sweep.log'}", err=True)
    counts: Mapping[Any, Any] = found.runs["status"].value_counts().to_dict()
    typer.echo(f"Runs: {', '.join(f'{count} {status}' for status, count in counts.items())}")
    typer.echo(f"Tables: {folder / 'runs.csv'} and one folder per run; in Python: cosim.read_sweep({str(folder)!r})")
    if (folder / "report.html").is_file() and found.complete:
        typer.echo(f"Report: {folder / 'report.html'}")
        say_page(folder)
    failed = found.runs[found.runs["status"] == "failed"]
    if len(failed):
        first = failed.iloc[0]
        raise RunFailure(
            f"{len(failed)} of {len(found.runs)} runs failed, the first with: {first['error']}\n"
            f"  log:     {folder / 'runs' / ('run=' + first['run']) / 'log.txt'}"
        )
