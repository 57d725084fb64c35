"""Branching in the tree over hulls: between the columns whose combination the model uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cosim.optimization.bilevel.model.settlement import Box
from cosim.optimization.bilevel.primal.region_search import RegionSearch
from cosim.optimization.bilevel.relaxation.relaxation import OPEN, Relaxation
from cosim.optimization.bilevel.tree.columns import Mixture
from cosim.optimization.bilevel.tree.domain import Domain
from cosim.optimization.bilevel.tree.lagrangian import Decomposition, Step
from cosim.optimization.qp.arrays import Vector

_LEAST, _APART = 1e-7, 1e-9
_CLOSED = 1e-6


class Branching:
    """Chooses how to divide a domain.

    Args:
        parts: the decomposition.
        relaxation: of the same problem.
        regions: of its follower.
    """

    def __init__(self, parts: Decomposition, relaxation: Relaxation, regions: RegionSearch) -> None:
        self._parts, self._relaxation, self._regions = parts, relaxation, regions

    def children(self, domain: Domain, step: Step | None, missing: float) -> list[Domain] | None:
        """Two domains that cover this one; None if there is nothing to divide.

        First come the leaves of the block whose convex hull is met farthest below its payment, then a pair in which
        leaves differ, a box, or the pair that the relaxation violates most.

        Args:
            step: the last one of the model, if there was any.
            missing: how far the domain's bound is from closing the gap.
        """
        pair: int | None = None
        if step is not None:
            mixed = self._mixed(domain, step, missing) if self._relaxation.settings.branch_on_leaves else None
            if mixed is not None:
                return mixed
            pair = self._pair(domain, step)
            boxes = self._halves(domain.box, step) if pair is None and domain.box is not None else None
            if boxes is not None:
                return [replace(domain, box=box) for box in boxes]
        pair = self._violated(domain) if pair is None else pair
        return None if pair is None else domain.decided(pair)

    def _gap(self, home: int, mixture: Mixture) -> float | None:
        """How far a combination's payment lies below the true one at its mean; None where no region is found."""
        region = self._regions.blocks[home].at(mixture.theta)
        return None if region is None else region.payment(mixture.theta) - mixture.payment

    def _mixed(self, domain: Domain, step: Step, missing: float) -> list[Domain] | None:
        """Divide the leaves of the block whose combination lies farthest below its true payment."""
        best, found = 0.0, None
        for b, (home, mixture) in enumerate(zip(self._parts.home, step.mixtures, strict=True)):
            gap = self._gap(home, mixture) if mixture.mixed else None
            if gap is not None and gap > best:
                best, found = gap, b
        if found is None or best < self._relaxation.settings.split_share * missing:
            return None
        mixture = step.mixtures[found]
        around = np.sqrt(mixture.weights)[:, None] * (mixture.thetas - mixture.theta)
        _, _, axes = np.linalg.svd(around, full_matrices=False)
        return self._parts.divide(domain, found, axes[0], float(axes[0] @ mixture.theta))

    def _halves(self, box: Box, step: Step) -> tuple[Box, Box] | None:
        """Two boxes that separate the columns of a combination, along the parameter in which they differ most for the
        width of its rest.
        """
        best, found = _APART, None
        for problem, mixture in zip(self._parts.pricing, step.mixtures, strict=True):
            if not mixture.mixed:
                continue
            mean = mixture.theta
            spread = np.sqrt(np.maximum(mixture.weights @ mixture.thetas**2 - mean**2, 0.0))
            here = box.part(problem.parameters)
            worth = spread * (here.high - here.low)
            k = int(np.argmax(worth))
            if worth[k] > best:
                best, found = float(worth[k]), (int(problem.parameters[k]), float(mean[k]))
        return None if found is None else box.split(*found)

    def _pair(self, domain: Domain, step: Step) -> int | None:
        """The undecided pair that best separates the columns of a combination."""
        best, found = 0.0, None
        blocks = zip(self._parts.pricing, self._parts.home, self._parts.columns, step.mixtures, strict=True)
        for problem, home, columns, mixture in blocks:
            if not mixture.mixed:
                continue
            held = domain.held[problem.rows]
            # How far from zero the dual is where the row binds, and the slack where it does not.
            binding = mixture.weights @ _shares([c.dual for c in mixture.columns], [c.dual for c in columns])
            loose = mixture.weights @ _shares([c.slack for c in mixture.columns], [c.slack for c in columns])
            apart = np.where(held == OPEN, np.minimum(binding, loose), 0.0)
            gap = self._gap(home, mixture)
            weight = 1.0 if gap is None else max(gap, _CLOSED)
            at = int(np.argmax(apart))
            if weight * apart[at] > best:
                best, found = weight * float(apart[at]), int(problem.rows[at])
        return found

    def _violated(self, domain: Domain) -> int | None:
        """The most violated pair of the domain's relaxation."""
        found = self._relaxation.solve(domain.held, box=domain.box)
        if found.status != "optimal":
            return None
        product = self._relaxation.violations(found.z, domain.held)
        return int(np.argmax(product)) if product.max(initial=0.0) > _LEAST else None


def _shares(values: Sequence[Vector], every: Sequence[Vector]) -> Vector:
    """Each value as a share of the largest of its kind."""
    shares: Vector = np.array(values) / np.maximum(np.max(every, axis=0), _APART)
    return shares
