"""Scenarios of what may happen as the operator takes them: what it decides in each, weighted and side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from cosim.agents.dso.own_problem import Joined, OwnStep, OwnWindow

Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Future:
    """A scenario of a window.

    Attributes:
        weight: its probability. own: what the operator decides in it and what it costs, without the network.
        load_scale: (steps,) of the base load.
    """

    weight: float
    own: OwnWindow
    load_scale: Real


def futures(supposed: Iterable[float], own: Callable[[], OwnWindow], load_scale: Callable[[], Real]) -> list[Future]:
    """The scenarios that are shown in turn, as the operator finds itself in each.

    Args:
        supposed: shows a scenario and yields its probability.
        own, load_scale: of the window, as they are shown.
    """
    return [Future(weight, own(), load_scale().copy()) for weight in supposed]


def weighted(own: OwnStep, weight: float) -> OwnStep:
    """The same decisions with all costs times a probability."""
    return replace(
        own,
        square=weight * own.square,
        cost=weight * own.cost,
        constant=weight * own.constant,
        constants={owner: weight * usd for owner, usd in own.constants.items()},
    )


def side_by_side(some: Sequence[Future]) -> OwnWindow:
    """The decisions in all scenarios as those of one window: all steps of the first scenario, then of the next."""
    steps = tuple(weighted(step, f.weight) for f in some for step in f.own.steps)
    count = len(some[0].own.steps)
    joined = ([f.own.equalities for f in some], [f.own.inequalities for f in some])
    return OwnWindow(steps, *(_beside(rows, count) for rows in joined))


def _beside(parts: Sequence[Joined], steps: int) -> Joined:
    """Rows that join steps, those of each scenario in its own variables."""
    if not any(len(part.names) for part in parts):
        return parts[0]
    return Joined(
        sp.csr_array(sp.block_diag([part.matrix for part in parts], format="csr")),
        np.concatenate([part.rhs for part in parts]),
        tuple(f"{name}/{w}" for w, part in enumerate(parts) for name in part.names),
        tuple(name for part in parts for name in part.local),
        np.concatenate([part.last + w * steps for w, part in enumerate(parts)]),
    )
