"""Accounts of a run, and gains and losses between runs."""
