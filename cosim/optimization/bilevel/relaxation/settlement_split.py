"""Shares of strong duality that leave little of a settlement bilinear, and the proven range of the rest."""

from __future__ import annotations

import numpy as np

from cosim.errors import InputError
from cosim.optimization.bilevel.model.settlement import Box, Settlement, SettlementShares
from cosim.optimization.bilevel.relaxation.obbt import FollowerBounds
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.qp.arrays import Matrix, Vector
from cosim.optimization.qp.parametric import ParametricQP

_NOISE = 1e-12


def find_shares(follower: ParametricQP, settlement: Settlement, settings: SearchSettings = DEFAULT) -> SettlementShares:
    """Choose for each block the share with the least error of the McCormick envelope, of those that fit its
    inequalities or its equalities best.

    Args:
        follower: with a bounded box of its parameters.
        settlement: see `Settlement`.
        settings: of the search.

    Raises:
        InputError: where a parameter is not bounded, or no range of a rest can be proven.
    """
    bounds = FollowerBounds(follower, settings=settings)
    lower, upper = follower.theta_lower, follower.theta_upper
    share_x, share_nu, share_sigma = (
        np.ones(len(of)) for of in (follower.variables, follower.eq_rows, follower.ineq_rows)
    )
    low, high = np.zeros(len(lower)), np.zeros(len(lower))
    for b, block in enumerate(bounds.blocks):
        if not len(block.parameters):
            continue
        at = (block.eq_rows, block.ineq_rows, block.parameters)
        mine, whole = settlement.part(*at), Settlement.of(follower).part(*at)
        width = (upper - lower)[block.parameters]
        candidates = {1.0, _fit(whole.by_sigma, mine.by_sigma), _fit(whole.by_nu, mine.by_nu)}
        best, share, least, most = np.inf, 1.0, np.full(len(width), -np.inf), np.full(len(width), np.inf)
        for candidate in sorted(candidates):
            rest = _less(mine, whole, candidate, candidate)
            ends = np.array([bounds.settlement(b, rest, k) for k in range(len(width))]).reshape(-1, 2)
            error = float((ends[:, 1] - ends[:, 0]) @ width)
            if error < best:
                best, share, least, most = error, candidate, ends[:, 0], ends[:, 1]
        share_x[block.variables], share_nu[block.eq_rows], share_sigma[block.ineq_rows] = share, share, share
        low[block.parameters] += least
        high[block.parameters] += most
    rest = _less(settlement, Settlement.of(follower), share_nu, share_sigma)
    used = rest.used()
    low[~used], high[~used] = 0.0, 0.0
    root = Box(lower, upper, low, high)
    for name, box in (("parameter", (lower, upper)), ("settlement", (low, high))):
        open_ends = ~np.isfinite(box[0]) | ~np.isfinite(box[1])
        if np.any(open_ends & used):
            first = follower.parameters[int(np.argmax(open_ends & used))]
            raise InputError(f"a bilinear payment needs a bounded {name}", key="settlement", value=first)
    return SettlementShares(settlement, share_x, share_nu, share_sigma, rest, root)


def _fit(whole: Matrix, part: Matrix) -> float:
    """The share (not negative) of the whole that is nearest to a part."""
    size = float((whole.multiply(whole)).sum())
    return 1.0 if size == 0.0 else max(0.0, float(whole.multiply(part).sum()) / size)


def _less(
    settlement: Settlement, whole: Settlement, share_nu: Vector | float, share_sigma: Vector | float
) -> Settlement:
    """A settlement without its constant, less a share of the whole price row by row."""
    return Settlement(
        np.zeros_like(settlement.constant),
        _difference(settlement.by_nu, whole.by_nu, share_nu),
        _difference(settlement.by_sigma, whole.by_sigma, share_sigma),
    )


def _difference(part: Matrix, whole: Matrix, share: Vector | float) -> Matrix:
    scale = np.broadcast_to(np.asarray(share, dtype=float), (part.shape[0],))
    row = np.repeat(np.arange(part.shape[0]), np.diff(whole.indptr))
    scaled = whole.copy()
    scaled.data = whole.data * scale[row]
    out = (part - scaled).tocsr()
    largest = max(float(np.abs(m.data).max(initial=0.0)) for m in (part, whole))
    out.data[np.abs(out.data) <= _NOISE * largest] = 0.0
    out.eliminate_zeros()
    return out
