"""Figures: of a run, of modes side by side, maps; one style."""
