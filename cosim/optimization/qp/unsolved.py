"""A quadratic program that no solver solved, stored so that it can be examined and solved elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import scipy.sparse as sp

from cosim.optimization.qp.arrays import Matrix, Vector

PROGRAM_FILE = "unsolved_program.npz"
_VECTORS = ("cost", "eq_rhs", "ineq_rhs")
_MATRICES = ("hessian", "eq_matrix", "ineq_matrix")


@dataclass(frozen=True, slots=True)
class UnsolvedProgram:
    """minimise 1/2 x'Hx + cost'x subject to Ax = eq_rhs and Gx <= ineq_rhs, with all parameters at their values.

    Attributes:
        hessian, eq_matrix, ineq_matrix: H (n, n), A (p, n), G (m, n).
        cost, eq_rhs, ineq_rhs: (n,), (p,), (m,); an infinite side is a row that never binds.
    """

    hessian: Matrix
    eq_matrix: Matrix
    ineq_matrix: Matrix
    cost: Vector
    eq_rhs: Vector
    ineq_rhs: Vector

    def __str__(self) -> str:
        n, p, m = len(self.cost), len(self.eq_rhs), len(self.ineq_rhs)
        return f"{n} variables, {p} equations, {m} inequalities"

    def save(self, folder: Path) -> Path:
        """Write `PROGRAM_FILE` into a folder: vectors as they are, matrices by their entries."""
        path = folder / PROGRAM_FILE
        arrays = {name: getattr(self, name) for name in _VECTORS}
        for name in _MATRICES:
            entries = sp.coo_array(getattr(self, name))
            row, column = entries.coords
            arrays |= {f"{name}_row": row, f"{name}_column": column, f"{name}_value": entries.data}
            arrays[f"{name}_shape"] = np.array(entries.shape)
        np.savez_compressed(path, **arrays)
        return path

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as held:
            matrices = [
                sp.csr_array(
                    (held[f"{name}_value"], (held[f"{name}_row"], held[f"{name}_column"])),
                    shape=tuple(held[f"{name}_shape"].tolist()),
                )
                for name in _MATRICES
            ]
            return cls(*matrices, *(held[name] for name in _VECTORS))
