"""Exit codes of the command line: 0 done, 1 the run failed, 2 the input is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

import typer

from cosim.errors import InputError, RunFailure, shortened

EXIT_FAILED, EXIT_INPUT = 1, 2


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what can go wrong outside of cosim into clear lines on stderr and an exit code.

    Besides the two kinds of error these are a library that is missing and a disk that cannot be written.
    """
    try:
        yield
    except InputError as error:
        _leave(EXIT_INPUT, error.headline(), error.details(), error.also())
    except RunFailure as error:
        _leave(EXIT_FAILED, str(error), {})
    except ImportError as error:
        _leave(EXIT_FAILED, f"a library that cosim needs cannot be imported ({error})", {
            "name": error.name or "not told", "to do": "install cosim again: pip install --force-reinstall cosim-grid",
        })  # fmt: skip
    except OSError as error:
        where = {"file": str(error.filename)} if error.filename else {}
        _leave(EXIT_FAILED, f"a file cannot be read or written ({error.strerror or error})", where)


def _leave(code: int, message: str, details: Mapping[str, str], also: Sequence[str] = ()) -> NoReturn:
    lines = [f"Error: {message}", *(f"  {name + ':':<9}{value}" for name, value in details.items())]
    lines += [f"  also:    {line}" for line in also]
    typer.echo(shortened("\n".join(lines)), err=True)
    raise typer.Exit(code)
