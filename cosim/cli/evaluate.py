"""``cosim evaluate``: a run out of sample.

Everything heavy is imported when the command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cosim.cli.exit_codes import exit_codes
from cosim.cli.options import ForceOption, JobsOption, OutOption, TablesOption
from cosim.cli.printing import free_folder, print_notes, progress_bar, say_where, stdout


def evaluate_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    samples: Annotated[int, typer.Option(min=1, help="Fresh draws of all steps.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    load_std: Annotated[
        float | None,
        typer.Option("--load-std", min=0, help="Standard deviation of the load, where the scenario says none."),
    ] = None,
    sun_std: Annotated[float | None, typer.Option("--sun-std", min=0, help="The same of the sun.")] = None,
    correlation: Annotated[float, typer.Option(min=-1, max=1, help="Between these two.")] = 0.0,
    jobs: JobsOption = 1,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler whose workers see the folder; or local.")
    ] = None,
    out: OutOption = None,
    force: ForceOption = False,
    no_figures: TablesOption = False,
) -> None:
    """How often limits break, and what it costs, if load, sun and price are drawn anew and what was decided stays."""
    with exit_codes():
        from cosim.sweep.evaluation.decided import Errs
        from cosim.sweep.evaluation.evaluate import evaluate
        from cosim.sweep.evaluation.report import headline

        folder = out or free_folder(run.resolve().name, "evaluation")
        with progress_bar(run.name) as progress:
            found = evaluate(
                run, samples, seed, errs=Errs(load_std, sun_std, correlation), jobs=jobs, dask=dask, out=folder,
                force=force, figures=not no_figures, progress=progress,
            )  # fmt: skip
        table = Table(box=None, pad_edge=False, show_header=False)
        for item in headline(found):
            table.add_row(item["label"], item["value"])
        stdout().print(table)
        print_notes(found.notes)
        say_where(folder)
