"""What the commands share: progress, notes, where results are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

Progress = Callable[[int, int, str], None]


def free_folder(scenario: str, suffix: str) -> Path:
    """A folder below ``results/`` named after scenario and mode that does not exist yet."""
    name = "-".join(part for part in (Path(scenario).stem[:100], suffix) if part)
    folder, number = Path("results") / name, 2
    while folder.exists():
        folder, number = Path("results") / f"{name}-{number}", number + 1
    return folder


@contextmanager
def progress_bar(title: str, quiet: bool = False) -> Iterator[Progress | None]:
    """A progress bar on stderr if that is a terminal, else None: what is being done, and the time left."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
               TextColumn("{task.fields[stage]}", markup=False))  # fmt: skip
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task(title, total=None, stage="starting")
        yield lambda done, total, text: bars.update(task, completed=done, total=total, stage=text)


def print_notes(notes: Sequence[str], most: int = 10) -> None:
    from cosim.results.price_notes import about_cap

    first = about_cap(notes)
    for note in [*first, *(n for n in notes if n not in first)][:most]:
        typer.echo(f"Note: {note}")
    if len(notes) > most:
        typer.echo(f"... and {len(notes) - most} more notes in the report")


def say_where(folder: Path) -> None:
    typer.echo(f"Tables and figures: {folder}")
    typer.echo(f"Report: {folder / 'report.html'}")
    say_page(folder)


def say_page(folder: Path) -> None:
    """Where the page is, if there is one."""
    if (folder / "page.html").is_file():
        typer.echo(f"Page to look at: {folder / 'page.html'}")


def stdout() -> Console:
    """Console for results; where they do not go to a terminal, wide enough for no cell to be cut."""
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 160)
