"""``cosim feeder import | show``: feeders as tables. Everything heavy is imported when a command runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cosim.cli.exit_codes import exit_codes
from cosim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cosim.grid.opendss.importer.naming import Omission

MOST = 12
feeder_app = typer.Typer(name="feeder", help="Import feeders from OpenDSS, and look at them.", no_args_is_help=True)


@feeder_app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An OpenDSS script that builds a radial circuit.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the tables; must be new.")],
    name: Annotated[str | None, typer.Option(help="Name of the feeder; the circuit's own by default.")] = None,
    source: Annotated[str | None, typer.Option(help="Where the data come from, for the source columns.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder of feeder tables.")] = False,
    inside: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder in which all files lie that the script reads; its own by default."),
    ] = None,
    most_apart_pu: Annotated[
        float, typer.Option(metavar="PU", help="Refuse tables whose AC voltages differ by more from the original's.")
    ] = 0.01,
) -> None:
    """Turn an OpenDSS circuit into feeder tables, and list what they do not say as it was."""
    with exit_codes():
        from cosim.grid.opendss.importer.importer import (
            REPORT,
            check_target,
            import_feeder,
            require_alike,
            write_import,
        )

        check_target(out, force)
        found = import_feeder(file, name, source, inside)
        difference, where = require_alike(found, most_apart_pu)
        write_import(found, out, force)
        feeder = found.feeder
        typer.echo(
            f"{feeder.name}: {len(feeder.buses)} buses, {len(feeder.lines)} lines, {len(feeder.transformers)} "
            f"transformers, {len(feeder.regulators)} regulators, {len(feeder.loads)} loads"
        )
        typer.echo(f"Largest voltage difference from the original in AC: {difference:.2e} pu, at bus {where}")
        _print_omissions(found.omissions, out / REPORT)
        typer.echo(f"Tables: {out}")


def _print_omissions(omissions: Sequence[Omission], file: Path) -> None:
    counts = Counter(o.kind for o in omissions)
    order = ("dropped", "approximated", "control", "skipped")
    text = ", ".join(f"{counts[kind]} {kind}" for kind in order if counts[kind])
    typer.echo(f"Not represented as they were: {text or 'nothing'}")
    shown = sorted(omissions, key=lambda o: order.index(o.kind))[:MOST]
    for o in shown:
        typer.echo(f"  {o.element} ({o.kind}): {o.reason}")
    if len(omissions) > MOST:
        typer.echo(f"  ... and {len(omissions) - MOST} more in {file}")


@feeder_app.command()
def show(
    feeder: Annotated[str, typer.Argument(metavar="NAME_OR_DIR", help="A shipped feeder, or a folder of tables.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Where the map goes; below results/ by default.")
    ] = None,
) -> None:
    """Print what a feeder is made of and draw its map with the voltages of its base case."""
    with exit_codes():
        from cosim.grid.feeder.tables import read_feeder
        from cosim.results.figures.feeder_maps import base_case_map, summary
        from cosim.results.figures.style import png

        found = read_feeder(feeder)
        lines, solution = summary(found)
        for what, value in lines:
            typer.echo(f"{what:<16}{value}")
        file = out or Path("results") / f"feeder-{found.name}.png"
        picture = png(base_case_map(found, solution))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture)
        except OSError as error:
            raise InputError(
                f"the map cannot be written ({error.strerror})", key="--out", value=str(file), allowed="a file to write"
            ) from None
        typer.echo(f"Map: {file}")
