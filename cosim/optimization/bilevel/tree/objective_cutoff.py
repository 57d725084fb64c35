"""The objective cutoff: a known point limits the payment of each block in all points with a lower cost.

With multipliers mu of the decomposition (see `lagrangian`), its bound L(mu) and a known cost U of the leader, every
point that costs no more than U keeps for each block b of the follower

    payment_b - mu_b'th_b  <=  c_b(mu_b) + U - L(mu),

because the other blocks and the leader are at least at their own minima. Where U - L(mu) is small, bound tightening
with these limits decides many pairs and proves narrow ranges of parameters and prices. A margin on top of U - L(mu)
keeps these linear programs well conditioned.
"""

from __future__ import annotations

import numpy as np

from cosim.optimization.bilevel.model.single_level import SingleLevel
from cosim.optimization.bilevel.primal.incumbents import Incumbents
from cosim.optimization.bilevel.primal.region_search import region_search
from cosim.optimization.bilevel.relaxation.obbt import Cutoff
from cosim.optimization.bilevel.relaxation.relaxation import Relaxation
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.bilevel.tree.domain import Domain
from cosim.optimization.bilevel.tree.hull_tree import HullTree
from cosim.optimization.bilevel.tree.lagrangian import decompose
from cosim.optimization.qp.arrays import Vector


def find_cutoff(
    level: SingleLevel, start: Vector | None, gap: float, deadline: float, settings: SearchSettings = DEFAULT
) -> Cutoff | None:
    """The limits that the decomposition's root gives; None where the problem has no decomposition or no point is found.

    Args:
        level: with a payment.
        start: parameters of a good point; those of the relaxation if left out.
        gap: relative gap below which the root is good enough.
        deadline: `time.perf_counter()` at which to stop.
        settings: of the search.
    """
    regions = region_search(level, payment=True, least=settings.improvement * gap, settings=settings)
    if regions is None:
        return None
    relaxation = Relaxation(level, settings)
    points = Incumbents(relaxation, payment=True, regions=regions, deadline=deadline)
    nothing = np.zeros(relaxation.pairs, dtype=np.int8)
    root = relaxation.solve(nothing) if start is None else None
    if root is not None and root.status == "optimal":
        start = root.z[level.theta_at]
    if start is not None:
        points.near(start)
    parts = decompose(level, regions, settings=settings) if points.optimum is not None else None
    if parts is None:
        return None
    mu = HullTree(parts, relaxation, points, gap, deadline, lambda _: None).root()
    value = parts.evaluate(mu, Domain(nothing), 0.0, deadline)
    if value is None or points.z is None or not np.isfinite(value):
        return None
    most = np.full(len(regions.blocks), np.inf)
    room = max(0.0, points.best - value) + max(gap, settings.cutoff_room) * max(1.0, abs(points.best))
    most[list(parts.home)] = parts.minima + room
    return Cutoff(mu, most, points.best, value, points.z)
