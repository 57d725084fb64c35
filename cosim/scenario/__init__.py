"""Scenario files: schema, loading, series, calendar, and what a run prepares from them."""
