"""``cosim view``: a folder of results in the browser.

Everything heavy is imported when the command runs.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cosim.cli.exit_codes import exit_codes
from cosim.errors import InputError


def view_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of runs, comparisons, sweeps and studies.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for a free one.")] = 0,
    host: Annotated[
        str, typer.Option(help="Address to listen at; any other than this machine's own opens the folder to others.")
    ] = "127.0.0.1",
    opened: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Open a browser; by default from a terminal.")
    ] = None,
) -> None:
    """Show a folder of results in the browser: list, open, compare any two runs, follow what is under way.

    Nothing in the folder is written. Ctrl-C ends it.
    """
    with exit_codes():
        from cosim.view.server import Viewer, ViewServer, is_loopback

        viewer = Viewer(folder)
        try:
            server = ViewServer(viewer, host, port)
        except (OSError, OverflowError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"it cannot be listened there ({reason})", key="--host, --port", value=f"{host}:{port}",
                             allowed="an address of this machine, and a port that is free") from None  # fmt: skip
        for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts what is in the background deaf to the first
            signal.signal(number, _end)
        try:
            with server:
                typer.echo(f"Results in {folder}: {server.address}")
                if not is_loopback(host):
                    typer.echo(
                        f"Anybody on the network who can reach this machine at port {server.server_port} and knows "
                        "that address can read all results in the folder, and whoever listens on the way reads along: "
                        "nothing is encrypted.", err=True,
                    )  # fmt: skip
                typer.echo("Ctrl-C ends it.")
                sys.stdout.flush()
                if sys.stdout.isatty() if opened is None else opened:
                    import webbrowser

                    webbrowser.open(server.address)
                server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            typer.echo("Ended.")


def _end(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
