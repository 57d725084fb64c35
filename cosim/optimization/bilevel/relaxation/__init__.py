"""Convex relaxations of the single-level problem, cuts that tighten them, and bounds of its variables."""
