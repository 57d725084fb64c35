"""The penalty of ADMM as a matrix for each step of the market: stiff where prices are steep, soft where they are flat.

Matrices are (steps, terminals, terminals), symmetric and positive definite, in USD/MW^2 h; ``|x|_M`` is sqrt(x'Mx).
"""

from __future__ import annotations

import numpy as np

from cosim.optimization.solvers.proximal import proximal_gradient
from cosim.protocol.roles import Array

NO_DISTANCE_MW = 1e-6
"""Shorter secants say nothing of a slope."""


def learned(metric: Array, moved_mw: Array, risen: Array, least: float, most: float) -> Array:
    """The metric with the curvature of a convex cost along a secant (BFGS; Nocedal and Wright 2006, eq. 6.19).

    Where a limit lies between the two ends it becomes stiff across the limit and stays soft along it: what a number for
    each step could not say.

    Args:
        moved_mw, risen: (steps, terminals) distance of the ends, and difference of the cost's slopes there.
        least, most: bounds of the curvature in any direction.
    """
    new = metric.copy()
    for t in np.flatnonzero(np.linalg.norm(moved_mw, axis=1) > NO_DISTANCE_MW):
        new[t] = _bent(metric[t], moved_mw[t], risen[t], least, most)
    return bounded(new, least, most)


def _bent(m: Array, s: Array, y: Array, least: float, most: float) -> Array:
    """One step's matrix with ``m s = y`` as far as the bounds allow.

    Steeper than the upper bound is a jump of the price, along the normal of a limit: it says nothing of other
    directions, in which what has been learned must stay.
    """
    convex, ms = float(y @ s), m @ s
    if convex > 0 and float(y @ y) > most * convex:
        along = y / np.linalg.norm(y)
        return np.asarray(m + max(0.0, most - float(along @ m @ along)) * np.outer(along, along))
    flat = m - np.outer(ms, ms) / float(s @ ms)
    return np.asarray(flat + np.outer(y, y) / convex if convex > least * float(s @ s) else flat)


def scaled(metric: Array, along_mw: Array, factor: float) -> Array:
    """The metric ``factor`` times as stiff along a direction in each step (steps, terminals), else as before."""
    gradient = proximal_gradient(metric, along_mw)
    size = (along_mw * gradient).sum(axis=1)[:, None, None]
    return np.asarray(metric + (factor - 1) * _square(gradient) / size)


def bounded(metric: Array, least: float, most: float) -> Array:
    """The metric with its stiffness in every direction within bounds."""
    values, vectors = np.linalg.eigh(0.5 * (metric + metric.transpose(0, 2, 1)))
    return np.asarray(np.einsum("tij,tj,tkj->tik", vectors, np.clip(values, least, most), vectors))


def length(metric: Array, x: Array) -> Array:
    """(steps,) ``|x|_M`` of (steps, terminals)."""
    return np.asarray(np.sqrt(np.maximum((x * proximal_gradient(metric, x)).sum(axis=1), 0.0)))


def _square(x: Array) -> Array:
    """``x x'`` of each step."""
    return np.asarray(x[:, :, None] * x[:, None, :])
