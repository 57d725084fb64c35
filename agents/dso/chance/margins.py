"""By how much a limit is tightened, so that it is kept with a probability while injections err.

With errors of covariance S a row a'p <= r of the clearing becomes

    a'p <= r - z sqrt(a' S a)

as a'(p + error) is then beyond r with the probability that a standard normal variable is beyond z (Charnes and Cooper,
Management Science 6(1), 1959; for power flow Bienstock, Chertkov and Harnett, SIAM Review 56(3), 2014). The margin
is a number and not a variable: the clearing keeps its form.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Real = NDArray[np.float64]
DRAWS = 4096
"""Draws that the distribution of the worst limit of a step is taken from."""
_ROWS = 512
"""Rows that are drawn for at a time."""


def row_stds(directions: Real, covariance: Real) -> Real:
    """(rows,) sqrt(a' S a) of each row.

    Args:
        directions: (rows, k) by how much each row's left side grows by an error of 1 of each of k entries.
        covariance: (k, k) of the errors.
    """
    variance = np.einsum("ri,ij,rj->r", directions, covariance, directions)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def individual(probability: float) -> float:
    """z of one limit that is kept with a probability."""
    return float(ndtri(probability))


def shared(probability: float, limits: int) -> float:
    """z of each of some limits that are kept together with a probability, by Bonferroni's inequality: each has an equal
    share of what may fail."""
    return float(ndtri(1 - (1 - probability) / max(1, limits)))


def of_the_worst(probability: float, directions: Real, covariance: Real, stds: Real) -> float:
    """z of rows that are kept together with a probability: the quantile of the largest of them, each per standard
    deviation, from ``DRAWS`` quasi-random draws of the errors (Sobol, scrambled, always the same)."""
    from scipy.stats import qmc  # takes longer to import than most runs need to start

    moved = np.flatnonzero(stds > 0)
    if not len(moved):
        return individual(probability)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    uniform = qmc.Sobol(len(covariance), scramble=True, seed=0).random(DRAWS)
    errors = ndtri(np.clip(uniform, 1e-12, 1 - 1e-12)) @ root.T
    worst = np.full(DRAWS, -np.inf)
    for part in np.array_split(moved, 1 + len(moved) // _ROWS):
        per_std = (directions[part] / stds[part, None]) @ errors.T
        np.maximum(worst, per_std.max(axis=0, initial=-np.inf), out=worst)
    found = float(np.quantile(worst, probability, method="higher"))
    return max(found, individual(probability))
