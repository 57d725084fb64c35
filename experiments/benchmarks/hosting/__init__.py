"""Benchmarks of hosting limits: against bisection in OpenDSS, and how long a year takes."""
