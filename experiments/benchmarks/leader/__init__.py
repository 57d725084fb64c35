"""Benchmarks of the leader's problem: published cases, random days, growth, methods."""
