"""Branching in the tree over hulls: between the columns whose combination the model uses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.optimization.bilevel.model.settlement import Box
from cosim.optimization.bilevel.primal.region_search import RegionSearch
from cosim.optimization.bilevel.relaxation.relaxation import Relaxation
from cosim.optimization.bilevel.tree.domain import Domain
from cosim.optimization.bilevel.tree.lagrangian import Decomposition, Step

_LEAST, _APART = 1e-7, 1e-9


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

        First come the leaves of the block whose convex hull is met farthest below its payment, then a box, then the
        pair that the relaxation violates most.

        Args:
            step: the last one of the model, if there was any.
            missing: how far the domain's bound is from closing the gap.
        """
        if step is not None:
            mixed = self._mixed(domain, step, missing) if self._relaxation.settings.branch_on_leaves else None
            if mixed is not None:
                return mixed
            boxes = None if domain.box is None else self._halves(domain.box, step)
            if boxes is not None:
                return [replace(domain, box=box) for box in boxes]
        pair = self._violated(domain)
        return None if pair is None else domain.decided(pair)

    def _mixed(self, domain: Domain, step: Step, missing: float) -> list[Domain] | None:
        """Divide the leaves of the block whose combination of columns lies farthest below the payment at its mean."""
        best, found = 0.0, None
        for b, (home, mixture) in enumerate(zip(self._parts.home, step.mixtures, strict=True)):
            region = self._regions.blocks[home].at(mixture.theta) if mixture.mixed else None
            below = 0.0 if region is None else region.payment(mixture.theta) - mixture.payment
            if below > best:
                best, found = below, b
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

    def _violated(self, domain: Domain) -> int | None:
        """The most violated pair of the domain's relaxation."""
        found = self._relaxation.solve(domain.held, box=domain.box)
        if found.status != "optimal":
            return None
        product = self._relaxation.violations(found.z, domain.held)
        return int(np.argmax(product)) if product.max(initial=0.0) > _LEAST else None
