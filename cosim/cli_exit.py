"""Exit codes of the command line: 0 done, 1 the run failed, 2 the input is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

import typer

from cosim.errors import InputError, RunFailure

EXIT_FAILED, EXIT_INPUT = 1, 2


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn the two kinds of error into clear lines on stderr and their exit code."""
    try:
        yield
    except InputError as error:
        details = {"file": error.file, "key": error.key, "value": error.value, "allowed": error.allowed}
        _leave(EXIT_INPUT, error.message, {k: v for k, v in details.items() if v is not None})
    except RunFailure as error:
        _leave(EXIT_FAILED, str(error), {})


def _leave(code: int, message: str, details: Mapping[str, object]) -> NoReturn:
    typer.echo(f"Error: {message}", err=True)
    for name, value in details.items():
        typer.echo(f"  {name + ':':<9}{value}", err=True)
    raise typer.Exit(code)
