"""`python -m cosim.cli`."""

from cosim.cli.main import app

app()
