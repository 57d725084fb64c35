"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OutOption = Annotated[
    Path | None, typer.Option(help="Folder for the results; by default a new one below results/.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a folder of earlier results.")]
TablesOption = Annotated[
    bool, typer.Option("--no-figures", help="Draw no figures: the report has its tables alone.")
]
JobsOption = Annotated[int, typer.Option(min=1, max=256, help="Processes.")]
