"""Numbers of a page in few bytes: rounded, packed, and unpacked again by ``packed.js``."""

from __future__ import annotations

import base64
import math
import zlib
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

MISSING = -(1 << 31)
"""Stands for a value that is not there."""
_LARGEST = (1 << 31) - 1


class Packed(TypedDict):
    """An array of numbers for a page.

    Attributes:
        rows, columns: its shape.
        digits: decimal places that are kept.
        data: base64 of the compressed bytes.
    """

    rows: int
    columns: int
    digits: int
    data: str


def pack(values: NDArray[np.float64], digits: int) -> Packed:
    """Round an array (rows, columns) and pack it; what is not finite becomes a missing value.

    Each number becomes an integer of 32 bits in units of its last decimal place. What is stored is its difference to
    the one before it in its row (modulo 2**32), the lowest bytes of all of them first: neighbours on a feeder are
    alike, so that compression finds much to save.

    Args:
        digits: decimal places to keep; fewer are kept of numbers that would not fit.
    """
    known = np.isfinite(values)
    largest = float(np.abs(values, where=known, out=np.zeros(values.shape)).max(initial=0.0))
    if largest > 0:
        digits = min(digits, math.floor(math.log10(_LARGEST) - math.log10(largest)))
    whole = np.full(values.shape, MISSING, dtype=np.int64)
    whole[known] = np.rint(values[known] * 10.0**digits).astype(np.int64)
    steps = np.diff(whole, axis=1, prepend=0).astype(np.uint32)
    planes = np.ascontiguousarray(steps.astype("<u4").reshape(-1).view(np.uint8).reshape(-1, 4).T)
    data = base64.b64encode(zlib.compress(planes.tobytes(), 6)).decode("ascii")
    return {"rows": values.shape[0], "columns": values.shape[1], "digits": digits, "data": data}


def unpack(packed: Packed) -> NDArray[np.float64]:
    """The array of :func:`pack`, rounded as it was; ``packed.js`` does the same."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), dtype=np.uint8).reshape(4, -1)
    steps = np.ascontiguousarray(planes.T).view("<u4").reshape(packed["rows"], packed["columns"])
    whole = np.cumsum(steps.astype(np.int64), axis=1).astype(np.uint32).astype(np.int32)
    return np.where(whole == MISSING, np.nan, whole / 10.0 ** packed["digits"])
