"""The command line is tested on the results that the tests of results are made of."""

from tests.results.conftest import layout, record, tables

__all__ = ["layout", "record", "tables"]
