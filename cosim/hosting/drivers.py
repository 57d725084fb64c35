"""The few scalars that drive a base case: load, sun, and what else is not a multiple of these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

Real = NDArray[np.float64]
Index = NDArray[np.intp]
ALIKE = 1e-9
"""Largest remainder, relative to the largest column, of a series that counts as a sum of others."""


@dataclass(frozen=True, slots=True, eq=False)
class Drivers:
    """Series as affine functions of a few independent ones, each from 0 to 1 over the steps.

    Attributes:
        points: (n, d) different points; steps: (steps,) the point of each step.
        constant, slopes: (k,) and (d, k): a series is ``constant + point @ slopes``.
    """

    points: Real
    steps: Index
    constant: Real
    slopes: Real

    def series(self, points: Real) -> Real:
        """(n, k) the series at some points (n, d)."""
        return np.asarray(self.constant + points @ self.slopes)


def drivers_of(series: Real) -> Drivers:
    """The drivers of series (steps, k)."""
    lowest, span = series.min(axis=0), np.ptp(series, axis=0)
    moving = np.flatnonzero(span > ALIKE * np.maximum(np.abs(series).max(axis=0), 1e-12))
    if not len(moving):
        one = np.zeros((1, 0))
        return Drivers(one, np.zeros(len(series), dtype=np.intp), series.mean(axis=0), np.zeros((0, series.shape[1])))
    unit = (series[:, moving] - lowest[moving]) / span[moving]
    _, r, order = qr(unit - unit.mean(axis=0), mode="economic", pivoting=True)
    size = np.abs(np.diag(r))
    chosen = np.sort(order[: int((size > ALIKE * size[0]).sum())])
    z = unit[:, chosen]
    points, steps = np.unique(np.round(z, 12), axis=0, return_inverse=True)
    with_one = np.concatenate([np.ones((len(z), 1)), z], axis=1)
    solved = np.linalg.lstsq(with_one, series, rcond=None)[0]
    return Drivers(points, np.asarray(steps, dtype=np.intp).reshape(-1), solved[0], solved[1:])
