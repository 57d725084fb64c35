"""The products rest * parameter of a settlement in a relaxation: two variables and two rows for each, over any box.

For each parameter th_k with a rest (see `settlement`) the relaxation has a variable r_k, the rest as an affine function
of the duals, and w_k, which stands for r_k th_k in the objective and is bounded below by the McCormick envelope of the
box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from cosim.optimization.bilevel.model.settlement import Box, SettlementShares
from cosim.optimization.qp.arrays import Indices, Matrix, Vector, columns, csr
from cosim.optimization.qp.two_sided import Form, Limits, full_form
from cosim.optimization.solvers.backends import Highs


@dataclass(frozen=True)
class Products:
    """Where the products lie among the variables of a single-level form.

    Attributes:
        shares: the settlement taken apart.
        numbers: (u,) which parameters have a rest.
        theta_at, rest_at, product_at: (u,) where th_k, r_k and w_k lie.
    """

    shares: SettlementShares
    numbers: Indices
    theta_at: Indices
    rest_at: Indices
    product_at: Indices

    def equations(self, size: int, nu_at: Indices, sigma_at: Indices) -> Matrix:
        """(u, size) rows that are zero where r is the rest: r + by_nu'nu + by_sigma'sigma."""
        rest, count = self.shares.rest, len(self.numbers)
        parts = [(np.ones(count), np.arange(count), self.rest_at)]
        for matrix, at in ((rest.by_nu, nu_at), (rest.by_sigma, sigma_at)):
            mine = sp.coo_array(columns(matrix, self.numbers).T)
            parts.append((mine.data, mine.coords[0], at[mine.coords[1]]))
        value, row, column = (np.concatenate([part[i] for part in parts]) for i in range(3))
        return csr(sp.csr_array((value, (row, column)), shape=(count, size)), (count, size))

    def fill(self, z: Vector, nu: Vector, sigma: Vector) -> None:
        """Put the rests and their true products into z."""
        z[self.rest_at] = self.shares.rest.price(nu, sigma)[self.numbers]
        z[self.product_at] = z[self.rest_at] * z[self.theta_at]

    def errors(self, z: Vector) -> Vector:
        """(k,) by how much each product is underestimated at z; 0 for parameters without a rest."""
        out = np.zeros(len(self.shares.constant))
        out[self.numbers] = np.maximum(z[self.rest_at] * z[self.theta_at] - z[self.product_at], 0.0)
        return out

    def split(self, z: Vector, k: int, box: Box) -> tuple[Box, Box]:
        """Two boxes in which the product of parameter k is known better, told apart near z.

        The side of the box that is cut is the one along which z lies nearer to the middle: the parameter's or the
        rest's.
        """
        i = int(np.searchsorted(self.numbers, k))
        found = []
        for at, low, high in (
            (float(z[self.theta_at[i]]), box.lower[k], box.upper[k]),
            (float(z[self.rest_at[i]]), box.low[k], box.high[k]),
        ):
            width = high - low
            share = 0.5 if width <= 0.0 else min(max((at - low) / width, 0.0), 1.0)
            found.append((share * (1.0 - share) if width > 0.0 else -1.0, low + min(max(share, 0.1), 0.9) * width))
        (by_theta, theta), (by_rest, rest) = found
        return box.split(k, theta) if by_theta >= by_rest else box.split_rest(k, rest)


class Envelope:
    """The rows of the products in the two-sided form of a solver, whose numbers move with the box.

    Args:
        products: of a single-level form.
        form: of the form without them.
    """

    def __init__(self, products: Products, form: Form) -> None:
        self.products = products
        count, size = len(products.numbers), form.hessian.shape[0]
        first = form.row_matrix.shape[0]
        row = np.concatenate([first + np.arange(2 * count)] * 3)
        column = np.concatenate([np.tile(at, 2) for at in (products.product_at, products.rest_at, products.theta_at)])
        base = sp.coo_array(form.row_matrix)
        label = np.arange(1, base.nnz + len(row) + 1, dtype=float)
        both = sp.csc_array(
            (label, (np.concatenate([base.coords[0], row]), np.concatenate([base.coords[1], column]))),
            shape=(first + 2 * count, size),
        )
        self._order = both.data.astype(np.int64) - 1
        self._pattern, self._base, self._form = both, base.data, form

    def form(self, box: Box) -> Form:
        """The solver's matrices for a box."""
        k = self.products.numbers
        values = np.concatenate([
            self._base, np.full(2 * len(k), -1.0), box.lower[k], box.upper[k], box.low[k], box.high[k],
        ])  # fmt: skip
        pattern = self._pattern
        matrix = sp.csc_array((values[self._order], pattern.indices, pattern.indptr), shape=pattern.shape)
        return replace(self._form, row_matrix=matrix)

    def limits(self, limits: Limits, theta_at: Indices, box: Box) -> Limits:
        """The limits of the form without products, with the box and the products' rows added."""
        k, limits = self.products.numbers, self.boxed(limits, theta_at, box)
        sides = np.concatenate([box.lower[k] * box.low[k], box.upper[k] * box.high[k]])
        return Limits(
            limits.eq_rhs,
            np.concatenate([limits.lower, np.full(len(sides), -np.inf)]),
            np.concatenate([limits.upper, sides]),
            limits.x_lower,
            limits.x_upper,
        )

    def boxed(self, limits: Limits, theta_at: Indices, box: Box) -> Limits:
        """The limits of the form without products, within a box."""
        k, rest_at = self.products.numbers, self.products.rest_at
        lower, upper = limits.x_lower.copy(), limits.x_upper.copy()
        lower[theta_at] = np.maximum(lower[theta_at], box.lower)
        upper[theta_at] = np.minimum(upper[theta_at], box.upper)
        lower[rest_at], upper[rest_at] = box.low[k], box.high[k]
        return replace(limits, x_lower=lower, x_upper=upper)

    @cached_property
    def wide(self) -> Highs:
        """A solver of linear programs over the form without products."""
        form, n = self._form, self._form.hessian.shape[0]
        return Highs(full_form(sp.csc_array((n, n)), form.eq_matrix, form.row_matrix), 1e-9)
