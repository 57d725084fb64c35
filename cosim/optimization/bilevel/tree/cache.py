"""Critical regions and pricing trees that successive bilevel solves share.

Rolling windows share most of their steps, and solves with other directions of batteries share the follower. A block
with the same numbers keeps its known critical regions and the leaves of its pricing problem, whose bounds do not depend
on the leader.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field

from cosim.optimization.bilevel.primal.critical_regions import CriticalRegions
from cosim.optimization.bilevel.settings import DEFAULT, SearchSettings
from cosim.optimization.bilevel.tree.pricing import PricingProblem
from cosim.optimization.qp.arrays import Matrix, Vector
from cosim.optimization.qp.blocks import Block


@dataclass(slots=True)
class SearchCache:
    """Critical regions and pricing problems of blocks by their numbers; those that two solves did not use are removed.

    Attributes:
        reused: number of blocks of the last solve that were known before.
    """

    reused: int = 0
    _settings: SearchSettings = DEFAULT
    _regions: dict[bytes, CriticalRegions] = field(default_factory=dict)
    _pricing: dict[bytes, PricingProblem] = field(default_factory=dict)
    _now: set[bytes] = field(default_factory=set)
    _before: set[bytes] = field(default_factory=set)

    def begin(self, settings: SearchSettings) -> None:
        """Begin a new solve."""
        self._settings = settings
        keep = self._now | self._before
        self._before, self._now, self.reused = self._now, set(), 0
        self._regions = {key: value for key, value in self._regions.items() if key in keep}
        self._pricing = {key: value for key, value in self._pricing.items() if key in keep}

    def regions(self, block: Block, constant_theta: Vector) -> CriticalRegions:
        """The critical regions of a block, with those found before."""
        key = _key(block, constant_theta)
        self._now.add(key)
        if key not in self._regions:
            self._regions[key] = CriticalRegions(block, constant_theta, settings=self._settings)
            return self._regions[key]
        self.reused += bool(len(block.parameters))
        found = copy.copy(self._regions[key])
        found.block = block
        return found

    def pricing(self, block: Block, constant_theta: Vector, regions: CriticalRegions) -> PricingProblem:
        """The pricing problem of a block, with the leaves of its tree."""
        key = _key(block, constant_theta)
        if key not in self._pricing:
            self._pricing[key] = PricingProblem(block, constant_theta, regions, settings=self._settings)
        # A copy, because a solve prunes leaves that the next one may need.
        return self._pricing[key].copy(block, regions)


def _key(block: Block, constant_theta: Vector) -> bytes:
    """The same for blocks with the same numbers, whatever their names and places."""
    qp, digest = block.qp, hashlib.sha256()
    vectors = (qp.cost, qp.eq_rhs, qp.ineq_rhs, qp.theta_lower, qp.theta_upper, constant_theta)
    for vector in vectors:
        digest.update(f"{len(vector)};".encode() + vector.tobytes())
    matrices: tuple[Matrix, ...] = (
        qp.hessian, qp.cost_theta, qp.eq_matrix, qp.eq_theta, qp.ineq_matrix, qp.ineq_theta,
    )  # fmt: skip
    for matrix in matrices:
        for part in (matrix.indptr, matrix.indices, matrix.data):
            digest.update(f"{len(part)};".encode() + part.astype(float).tobytes())
    return digest.digest()
