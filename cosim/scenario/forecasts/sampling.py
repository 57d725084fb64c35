"""What may happen, as a window sees it when it opens: scenarios of all series that are forecast with an error.

Given what is known at the opening, what is still to come of the errors is normal: with the martingale model the missing
revisions of each entry are a linear map of independent increments, correlated between entries. Samples follow from the
singular value decomposition of that map, the largest values with the first coordinates of a Sobol sequence
(Acworth, Broadie and Glasserman 1998). Fewer scenarios take the place of many by forward selection (Heitsch and
Roemisch, *Computational Optimization and Applications* 24, 2003).
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from cosim.errors import InputError
from cosim.scenario.market import StochasticSpec

Array = NDArray[np.float64]
_NOTHING = 1e-10
"""Singular value, relative to the largest, below which a direction of errors counts as none."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Scenarios of the errors of some entries.

    Attributes:
        weights: (scenarios,) probabilities. missing: of each entry (scenarios, steps), before the size of a series.
    """

    weights: Array
    missing: tuple[Array, ...]


def error_paths(maps: Sequence[Array], root: Array, spec: StochasticSpec, seed: Sequence[int]) -> Paths:
    """Sampled and, if asked for, reduced scenarios of what is still to come.

    Args:
        maps: of each entry (steps, increments), from standard normal increments to what forecasts miss.
        root: (entries, entries) square root of the correlation of the increments.
        seed: words of the seed.

    Raises:
        InputError: the errors have more directions than a Sobol sequence has dimensions.
    """
    increments = max(m.shape[1] for m in maps)
    wide = [np.pad(m, ((0, 0), (0, increments - m.shape[1]))) for m in maps]
    whole = np.vstack([np.hstack([root[e, f] * m for f in range(len(maps))]) for e, m in enumerate(wide)])
    left, values, _ = np.linalg.svd(whole, full_matrices=False)
    there = values > _NOTHING * max(float(values.max(initial=0.0)), 1e-300)
    drawn = standard_normals(spec.drawn, int(there.sum()), spec.sampling, seed) @ (left[:, there] * values[there]).T
    steps = maps[0].shape[0]
    parts = [drawn[:, e * steps : (e + 1) * steps] for e in range(len(maps))]
    if spec.reduction == "none" or spec.drawn == spec.scenarios:
        return Paths(np.full(spec.drawn, 1.0 / spec.drawn), tuple(parts))
    spread = [float(np.sqrt(np.mean(m**2 @ np.ones(m.shape[1])))) for m in wide]
    alike = np.hstack([part / s for part, s in zip(parts, spread, strict=True) if s > 0])
    chosen, weights = forward_selection(alike, spec.scenarios)
    return Paths(weights, tuple(part[chosen] for part in parts))


def standard_normals(count: int, dimensions: int, sampling: str, seed: Sequence[int]) -> Array:
    """(count, dimensions) standard normal draws: independent ones, or of a scrambled Sobol sequence."""
    source = np.random.default_rng(np.random.SeedSequence([*seed]))
    if dimensions == 0:
        return np.zeros((count, 0))
    if sampling == "monte_carlo":
        return source.standard_normal((count, dimensions))
    from scipy.stats import qmc  # takes seconds to import

    if dimensions > qmc.Sobol.MAXDIM:
        raise InputError("more uncertain values than a Sobol sequence has dimensions",
                         key="market.stochastic.sampling", value=f"sobol with {dimensions}",
                         allowed=f"monte_carlo, or at most {qmc.Sobol.MAXDIM}")  # fmt: skip
    with warnings.catch_warnings():  # that other counts than powers of two are less even
        warnings.simplefilter("ignore", UserWarning)
        even = qmc.Sobol(dimensions, scramble=True, rng=source).random(count)
    least = np.finfo(np.float64).eps
    return np.asarray(ndtri(np.clip(even, least, 1.0 - least)))


def forward_selection(points: Array, count: int) -> tuple[NDArray[np.intp], Array]:
    """Which scenarios to keep of equally likely ones, in order, and the weights of those.

    Each is the one with which the scenarios are nearest to those kept, in the mean of the Euclidean distance: the
    Kantorovich distance between the two distributions. A scenario that is left out gives its weight to the nearest
    that is kept.

    Args:
        points: (scenarios, coordinates).
        count: how many are kept.
    """
    square = np.einsum("ij,ij->i", points, points)
    apart = np.sqrt(np.maximum(square[:, None] + square[None, :] - 2.0 * (points @ points.T), 0.0))
    np.fill_diagonal(apart, 0.0)
    nearest, kept = np.full(len(points), np.inf), np.zeros(len(points), dtype=bool)
    for _ in range(count):
        gained = np.minimum(apart, nearest[:, None]).sum(axis=0)
        best = int(np.argmin(np.where(kept, np.inf, gained)))
        kept[best] = True
        nearest = np.minimum(nearest, apart[:, best])
    chosen = np.flatnonzero(kept)
    owner = np.argmin(apart[:, chosen], axis=1)
    owner[chosen] = np.arange(count)
    return chosen, np.bincount(owner, minlength=count) / len(points)


def stream(seed: int, first: int) -> tuple[int, int, int]:
    """Words of the seed of a window's scenarios, apart from those of what happens."""
    word = int.from_bytes(hashlib.sha256(b"scenarios of what may happen").digest()[:8], "big")
    return seed, word, first
