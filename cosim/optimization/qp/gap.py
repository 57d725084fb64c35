"""How far a cost may be from the best."""

from __future__ import annotations

import numpy as np


def relative_gap(objective: float, bound: float) -> float:
    """(objective - bound) over the size of the objective, absolute below one unit of money."""
    if not np.isfinite(objective) or not np.isfinite(bound):
        return np.inf
    return max(0.0, (objective - bound) / max(1.0, abs(objective)))
