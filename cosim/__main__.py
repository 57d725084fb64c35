"""`python -m cosim`."""

from cosim.cli.main import app

app()
