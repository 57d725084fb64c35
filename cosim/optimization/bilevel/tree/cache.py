"""What one bilevel solve leaves to the next: the regions and the trees of blocks that come back with the same numbers.

Windows that roll on share most of their steps. A block whose numbers are the same, wherever it now stands among the
others, keeps the regions found so far and the leaves of its tree, whose bounds hold whatever the leader does.
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
    """Critical regions and pricing of blocks by their numbers; what the last two problems did not ask for is forgotten.

    Attributes:
        reused: how many blocks of the last problem were known.
    """

    reused: int = 0
    _settings: SearchSettings = DEFAULT
    _regions: dict[bytes, CriticalRegions] = field(default_factory=dict)
    _pricing: dict[bytes, PricingProblem] = field(default_factory=dict)
    _now: set[bytes] = field(default_factory=set)
    _before: set[bytes] = field(default_factory=set)

    def begin(self, settings: SearchSettings) -> None:
        """A new problem."""
        self._settings = settings
        keep = self._now | self._before
        self._before, self._now, self.reused = self._now, set(), 0
        self._regions = {key: value for key, value in self._regions.items() if key in keep}
        self._pricing = {key: value for key, value in self._pricing.items() if key in keep}

    def regions(self, block: Block, constant_theta: Vector) -> CriticalRegions:
        """The regions of a block, as far as they are known."""
        key = _key(block, constant_theta)
        self._now.add(key)
        if key not in self._regions:
            self._regions[key] = CriticalRegions(block, constant_theta, settings=self._settings)
            return self._regions[key]
        self.reused += bool(len(block.parameters))
        found = copy.copy(self._regions[key])
        found.block = block
        return found

    def problem(self, block: Block, constant_theta: Vector, regions: CriticalRegions) -> PricingProblem:
        """The problem of a block with the tree it has grown."""
        key = _key(block, constant_theta)
        if key not in self._pricing:
            self._pricing[key] = PricingProblem(block, constant_theta, regions, settings=self._settings)
        # A copy, because what one problem prunes another one may need.
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
