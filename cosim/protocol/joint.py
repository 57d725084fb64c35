"""What several operators post as one posting over all terminals of an aggregator, and its bid operator by operator.

Work moves between feeders, so an aggregator answers all its operators together; each of them is told of its own
terminals alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cosim.protocol.messages import Bid, PricePosting

Array = NDArray[np.float64]
Index = NDArray[np.intp]


def joint_posting(postings: Mapping[str, PricePosting], terminals: Mapping[str, Index]) -> PricePosting:
    """The postings of one round as one.

    Prices, targets and tangents stand side by side, the costs that tangents begin from add up, and matrices are block
    diagonal: what one operator posts says nothing of demand on another feeder.

    Args:
        postings: by operator, of the same window and round.
        terminals: by operator, numbers of its terminals among all of the receiver's.
    """
    parts = [(postings[name], at) for name, at in terminals.items()]
    first = parts[0][0]
    if len(parts) == 1:
        return first

    def given(key: str) -> list[tuple[Array, Index]]:
        """What every operator says; nothing where one of them says nothing."""
        said = [(getattr(posting, key), at) for posting, at in parts]
        return [] if any(values is None for values, _ in said) else said

    def beside(key: str) -> Array | None:
        return _beside(given(key)) if given(key) else None

    costs = [cost for cost, _ in given("cut_cost_usd")]
    slopes = [(_square(slope), at) for slope, at in given("price_slope_usd_per_mw2h")]
    return replace(
        first,
        fresh=any(posting.fresh for posting, _ in parts),
        price_p_usd_per_mwh=_beside(given("price_p_usd_per_mwh")),
        price_q_usd_per_mvarh=_beside(given("price_q_usd_per_mvarh")),
        target_p_mw=beside("target_p_mw"),
        penalty_usd_per_mw2h=_penalty([(posting.penalty(), at) for posting, at in parts]),
        cut_p_mw=beside("cut_p_mw"),
        cut_slope_usd_per_mwh=beside("cut_slope_usd_per_mwh"),
        cut_cost_usd=_sum(costs) if costs else None,
        price_slope_usd_per_mw2h=_blocks(slopes) if slopes else None,
    )


def told_apart(bid: Bid, terminals: Mapping[str, Index]) -> list[Bid]:
    """A bid for each operator with the demand on its feeder; cost and regret are the bidder's over all feeders.

    Args:
        terminals: as for :func:`joint_posting`.
    """
    if len(terminals) == 1:
        return [bid]
    price = bid.price_usd_per_mwh
    return [
        replace(
            bid,
            receiver=name,
            p_mw=np.take(bid.p_mw, at, axis=1),
            q_mvar=np.take(bid.q_mvar, at, axis=1),
            price_usd_per_mwh=None if price is None else np.take(price, at, axis=1),
        )
        for name, at in terminals.items()
    ]


def _count(parts: Sequence[tuple[Array, Index]]) -> int:
    return sum(len(at) for _, at in parts)


def _beside(parts: Sequence[tuple[Array, Index]]) -> Array:
    """(steps, terminals) of all."""
    out = np.empty((len(parts[0][0]), _count(parts)))
    for values, at in parts:
        out[:, at] = values
    return out


def _square(flat: Array) -> Array:
    """(steps, n n) as (steps, n, n)."""
    n = round(flat.shape[1] ** 0.5)
    return flat.reshape(len(flat), n, n)


def _blocks(parts: Sequence[tuple[Array, Index]]) -> Array:
    """(steps, n n) block-diagonal matrices of (steps, k, k) each."""
    steps, n = len(parts[0][0]), _count(parts)
    out = np.zeros((steps, n, n))
    for matrices, at in parts:
        out[:, at[:, None], at] = matrices
    return out.reshape(steps, n * n)


def _penalty(parts: Sequence[tuple[Array, Index]]) -> Array:
    """One number for each step where all have the same, else matrices."""
    first = parts[0][0]
    if all(p.ndim == 2 and np.array_equal(p, first) for p, _ in parts):
        return first
    return _blocks([(p if p.ndim == 3 else p[:, :, None] * np.eye(len(at)), at) for p, at in parts])


def _sum(costs: Sequence[Array]) -> Array:
    """Costs of all: step by step, or of all steps together where one of them is told so."""
    fewest = min(len(c) for c in costs)
    return np.asarray(sum(c if len(c) == fewest else c.sum(axis=0, keepdims=True) for c in costs))
