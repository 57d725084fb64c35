"""How a node of the tree over hulls is told apart: between the points at which a block's hull is met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cosim.optimization.bilevel.model.settlement import Box
from cosim.optimization.bilevel.primal.region_search import Patchwork
from cosim.optimization.bilevel.relaxation.relaxation import OPEN, Relaxation
from cosim.optimization.bilevel.tree.columns import Mixture
from cosim.optimization.bilevel.tree.domain import Region
from cosim.optimization.bilevel.tree.lagrangian import Decomposition, Step
from cosim.optimization.qp.arrays import Vector

_LEAST, _APART = 1e-7, 1e-9
_CLOSED = 1e-6


class Branching:
    """Finds what to tell apart next.

    Args:
        parts: the decomposition.
        relaxation: of the same problem.
        pieces: of its follower.
    """

    def __init__(self, parts: Decomposition, relaxation: Relaxation, pieces: Patchwork) -> None:
        self._parts, self._relaxation, self._pieces = parts, relaxation, pieces

    def children(self, region: Region, step: Step | None, missing: float) -> list[Region] | None:
        """The two parts of a region; None if there is nothing to tell apart.

        First come the leaves of the block that is torn most, then a pair that tells leaves apart, a box, or a pair that
        the relaxation breaks.

        Args:
            step: the last one of the model, if there was any.
            missing: how far the region's bound is from closing the gap.
        """
        pair: int | None = None
        if step is not None:
            torn = self._torn(region, step, missing) if self._relaxation.settings.branch_on_leaves else None
            if torn is not None:
                return torn
            pair = self._pair(region, step)
            boxes = self._halves(region.box, step) if pair is None and region.box is not None else None
            if boxes is not None:
                return [replace(region, box=box) for box in boxes]
        pair = self._violated(region) if pair is None else pair
        return None if pair is None else region.decided(pair)

    def _gap(self, home: int, mixture: Mixture) -> float | None:
        """How far a block's hull lies below its payment where it is met; None where no piece can be had."""
        piece = self._pieces.blocks[home].at(mixture.theta)
        return None if piece is None else piece.payment(mixture.theta) - mixture.payment

    def _torn(self, region: Region, step: Step, missing: float) -> list[Region] | None:
        """Split the block whose hull is met farthest below its payment, between the leaves that tear it apart."""
        best, found = 0.0, None
        for b, (home, mixture) in enumerate(zip(self._parts.home, step.mixtures, strict=True)):
            gap = self._gap(home, mixture) if mixture.torn else None
            if gap is not None and gap > best:
                best, found = gap, b
        if found is None or best < self._relaxation.settings.split_share * missing:
            return None
        mixture = step.mixtures[found]
        around = np.sqrt(mixture.weights)[:, None] * (mixture.thetas - mixture.theta)
        _, _, axes = np.linalg.svd(around, full_matrices=False)
        return self._parts.divide(region, found, axes[0], float(axes[0] @ mixture.theta))

    def _halves(self, box: Box, step: Step) -> tuple[Box, Box] | None:
        """Two boxes that tell apart the points between which a block's hull is met, along the parameter in which they
        are farthest apart for the width of its rest.
        """
        best, found = _APART, None
        for oracle, mixture in zip(self._parts.oracles, step.mixtures, strict=True):
            if not mixture.torn:
                continue
            mean = mixture.theta
            spread = np.sqrt(np.maximum(mixture.weights @ mixture.thetas**2 - mean**2, 0.0))
            here = box.part(oracle.parameters)
            worth = spread * (here.high - here.low)
            k = int(np.argmax(worth))
            if worth[k] > best:
                best, found = float(worth[k]), (int(oracle.parameters[k]), float(mean[k]))
        return None if found is None else box.split(*found)

    def _pair(self, region: Region, step: Step) -> int | None:
        """The undecided pair that best tells apart the points between which a block's hull is met."""
        best, found = 0.0, None
        blocks = zip(self._parts.oracles, self._parts.home, self._parts.columns, step.mixtures, strict=True)
        for oracle, home, columns, mixture in blocks:
            if not mixture.torn:
                continue
            held = region.held[oracle.rows]
            # How far from zero the dual is where the row binds, and the slack where it does not.
            binding = mixture.weights @ _shares([c.dual for c in mixture.columns], [c.dual for c in columns])
            loose = mixture.weights @ _shares([c.slack for c in mixture.columns], [c.slack for c in columns])
            apart = np.where(held == OPEN, np.minimum(binding, loose), 0.0)
            sure = np.where(oracle.told_apart(held), apart, 0.0)
            if sure.max(initial=0.0) > 0 and self._relaxation.settings.branch_where_leaves_differ:
                # Both sides of such a pair have fewer leaves than the node.
                apart = sure
            gap = self._gap(home, mixture)
            weight = 1.0 if gap is None else max(gap, _CLOSED)
            at = int(np.argmax(apart))
            if weight * apart[at] > best:
                best, found = weight * float(apart[at]), int(oracle.rows[at])
        return found

    def _violated(self, region: Region) -> int | None:
        """The most violated pair of the region's relaxation."""
        found = self._relaxation.solve(region.held, box=region.box)
        if found.status != "optimal":
            return None
        product = self._relaxation.violations(found.z, region.held)
        return int(np.argmax(product)) if product.max(initial=0.0) > _LEAST else None


def _shares(values: Sequence[Vector], every: Sequence[Vector]) -> Vector:
    """Each value as a share of the largest of its kind."""
    shares: Vector = np.array(values) / np.maximum(np.max(every, axis=0), _APART)
    return shares
