"""``cosim new``: a scenario folder to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cosim.cli.exit_codes import exit_codes
from cosim.errors import listed


def new_command(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="Folder to make, named as its scenario; must be new.")],
    feeder: Annotated[
        str, typer.Option(help="A shipped feeder by name, a folder of tables, or an OpenDSS script, which are copied.")
    ] = "ieee37",
) -> None:
    """Write a commented scenario folder that runs as it stands."""
    with exit_codes():
        from cosim.simulation.new_case import new_case

        files = new_case(name, feeder)
        typer.echo(f"Written: {listed(files, 3)}")
        typer.echo(f"Run it: cosim run {files[0]}")
