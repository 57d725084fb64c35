"""What a check of a feeder says and of which table, and the numbers of one row."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cosim.errors import InputError
from cosim.grid.feeder.feeder import Matrix

MOST = 1e9
"""Largest number of a table, in whatever unit, so that nothing overflows."""
POSITIVE = frozenset(
    "kv_base kva kv_high kv_low length_ft amps steps vreg_v band_v pt_ratio ct_ratio ct_primary_a remote_pt_ratio "
    "max_tap_change v_min_v v_max_v v_min_pu v_max_pu".split()
)
NOT_NEGATIVE = frozenset(
    "r_percent x_percent no_load_percent magnetizing_percent r_low_percent x_low_percent delay_s tap_delay_s "
    "delay_off_s dead_time_s v_limit_v steps_on".split()
)


@dataclass(frozen=True, slots=True)
class Report:
    """Where the tables lie, to name the file in a message."""

    folder: Path | None

    def fail(
        self, message: str, table: str, element: str, column: str, value: object, allowed: str
    ) -> InputError:
        file = None if self.folder is None else self.folder / f"{table}.csv"
        return InputError(message, file=file, key=f"{table}.{element}.{column}", value=value, allowed=allowed)


def check_row(row: Any, table: str, report: Report) -> None:
    """Check the numbers of one element.

    Raises:
        InputError: one that is not finite, or that has a sign it cannot have.
    """
    for f in fields(row):
        value = getattr(row, f.name)
        if isinstance(value, tuple):
            _check_matrix(value, report, table, row.name, f.name)
        if not isinstance(value, float | int) or isinstance(value, bool):
            continue
        if not math.isfinite(value):
            raise report.fail("not a finite number", table, row.name, f.name, value, "a finite number")
        if abs(value) > MOST:
            raise report.fail("out of range", table, row.name, f.name, value, f"at most {MOST:g}")
        if f.name in POSITIVE and value <= 0:
            raise report.fail("not positive", table, row.name, f.name, value, "a number above 0")
        if f.name in NOT_NEGATIVE and value < 0:
            raise report.fail("negative", table, row.name, f.name, value, "0 or more")


def _check_matrix(matrix: Matrix, report: Report, table: str, name: str, column: str) -> None:
    for i in range(3):
        for k in range(3):
            if not math.isfinite(matrix[i][k]):
                raise report.fail("not a finite number", table, name, column, matrix[i][k], "a finite number")
            if abs(matrix[i][k]) > MOST:
                raise report.fail("out of range", table, name, column, matrix[i][k], f"at most {MOST:g}")
            if matrix[i][k] != matrix[k][i]:
                raise report.fail(
                    "the matrix is not symmetric", table, name, column, matrix, "a symmetric matrix"
                )
        if matrix[i][i] < 0:
            raise report.fail("negative on the diagonal", table, name, column, matrix[i][i], "0 or more")
