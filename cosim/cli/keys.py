"""``cosim schema | explain``: the keys of scenario and experiment files.

Everything heavy is imported when a command runs.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cosim.cli.exit_codes import exit_codes

if TYPE_CHECKING:
    from pydantic import BaseModel


class File(StrEnum):
    """Kinds of files that have a schema."""

    scenario = "scenario"
    experiment = "experiment"


def _models() -> dict[str, type[BaseModel]]:
    from cosim.scenario.schema import Scenario
    from cosim.sweep.experiment import Experiment

    return {"scenario": Scenario, "experiment": Experiment}


def schema_command(
    what: Annotated[File, typer.Argument(help="Whose schema.")],
    out: Annotated[Path | None, typer.Option(help="File to write; by default it is printed.")] = None,
) -> None:
    """JSON Schema of scenario or experiment files, for completion and checks in editors."""
    with exit_codes():
        import json

        from cosim.scenario.keys import json_schema

        text = json.dumps(json_schema(_models()[what.value]), indent=2, ensure_ascii=False) + "\n"
        if out is None:
            typer.echo(text, nl=False)
        else:
            out.write_text(text, encoding="utf-8")
            typer.echo(f"Schema: {out}")


def explain_command(
    key: Annotated[str, typer.Argument(help="A key, as network.v_min_pu, or its end, as v_min_pu.")],
) -> None:
    """What a key of a scenario or an experiment means: type, unit, default, what is allowed, an example."""
    with exit_codes():
        from cosim.scenario.keys import explained

        console = Console(markup=False, highlight=False, soft_wrap=True)
        for file, found in explained(_models(), key):
            default = {None: "must be given", "null": "none", "": "that of its keys"}.get(found.default, found.default)
            rows = {
                "what": found.what, "type": found.kind, "unit": found.unit, "default": default,
                "allowed": found.allowed, "example": found.example, "file": file,
            }  # fmt: skip
            console.print(found.path, style="bold")
            for name, value in rows.items():
                if value:
                    console.print(f"  {name + ':':<9}{value}")


def page() -> str:
    """The reference page of all keys as Markdown; see :func:`cosim.scenario.keys.page`."""
    from cosim.scenario import keys

    return keys.page(_models())


def reference() -> str:
    """What pages of results say of keys, as JSON with a key on each line; see :func:`cosim.scenario.keys.reference`."""
    import json

    from cosim.scenario import keys

    rows = (json.dumps(row, ensure_ascii=False) for row in keys.reference(_models()))
    return "[\n" + ",\n".join(rows) + "\n]\n"


if __name__ == "__main__":
    typer.echo(reference() if "--json" in sys.argv else page(), nl=False)
