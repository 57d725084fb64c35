"""``cosim feeder import | show``: feeders as tables, and circuits as they are.

Everything heavy is imported when a command runs.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cosim.cli.exit_codes import exit_codes
from cosim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cosim.grid.feeder.feeder import Feeder
    from cosim.grid.opendss.importer.naming import Omission

MOST = 12
ORDER = ("dropped", "approximated", "control", "skipped")
_NUMBER = re.compile(r"\d[\d.e+-]*")
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
    """Count what the tables do not say: alike things together, the gravest first, what is out of service apart."""
    from cosim.grid.opendss.importer.naming import OUT_OF_SERVICE

    off = [o for o in omissions if o.reason == OUT_OF_SERVICE]
    told = [o for o in omissions if o.reason != OUT_OF_SERVICE]
    counts = Counter(o.kind for o in told)
    text = ", ".join(f"{counts[kind]} {kind}" for kind in ORDER if counts[kind])
    typer.echo(f"Not represented as they were: {text or 'nothing'}")
    groups: dict[tuple[str, str, str], list[Omission]] = {}
    for o in told:
        kind, _, _ = o.element.partition(".")
        groups.setdefault((o.kind, kind, _NUMBER.sub("#", o.reason)), []).append(o)
    ordered = sorted(groups.values(), key=lambda found: (ORDER.index(found[0].kind), -len(found)))
    for found in ordered[:MOST]:
        first = found[0]
        more = f" and {len(found) - 1} more like it" if len(found) > 1 else ""
        typer.echo(f"  {first.element}{more} ({first.kind}): {first.reason}")
    if len(ordered) > MOST:
        typer.echo(f"  ... and {len(ordered) - MOST} more kinds")
    if off:
        names = ", ".join(o.element for o in off[:5]) + (", ..." if len(off) > 5 else "")
        typer.echo(f"Out of service in the script, so left out: {len(off)} ({names})")
    if omissions:
        typer.echo(f"One by one: {file}")


@feeder_app.command()
def show(
    feeder: Annotated[
        str,
        typer.Argument(metavar="NAME_OR_PATH", help="A shipped feeder, a folder of tables, or an OpenDSS script."),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Where the map goes; below results/ by default.")
    ] = None,
) -> None:
    """Print what a feeder is made of and draw its map with the voltages of its base case."""
    with exit_codes():
        from cosim.grid.feeder.tables import read_feeder
        from cosim.results.figures.feeder_maps import base_case_map, summary
        from cosim.results.figures.style import png

        if feeder.lower().endswith(".dss"):
            from cosim.grid.opendss.whole.reader import read_dss

            found: Feeder = read_dss(feeder)
        else:
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
