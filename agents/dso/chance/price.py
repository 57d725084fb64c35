"""The part of a price that margins of limits make: ``risk``.

Margins are numbers in right-hand sides, so that no dual is theirs alone: with them other limits bind, or the same ones
at another dispatch. What they add to the price of a node is the difference of two clearings at the same demand, on the
same networks,

    risk = price with margins - price of the clearing without margins

and the other parts are those of the clearing without margins. The parts add up to the price, and risk is nothing where
no tightened limit binds. Where the clearing without margins has several prices, those nearest to the price with margins
at the terminals are taken, so that a difference is never a mere choice among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.prices import NodePrices, node_prices
from cosim.agents.dso.window import StepResult, WindowClearing
from cosim.optimization.qp.solution import QPSolution

Real = NDArray[np.float64]
NOTHING_USD = 1e-9
"""Worth of margins in a step (dual times margin) below which no tightened limit binds."""


def with_risk(
    result: StepResult, t: int, window: WindowClearing, solution: QPSolution, plain: Callable[[], QPSolution]
) -> StepResult:
    """The result of step ``t`` of a solved window, its prices split with what margins add to them.

    Args:
        plain: solves the window without margins, see :func:`without_margins`.
    """
    steps = range(len(window.networks)) if window.tied else [t]
    if sum(_worth_usd(window, s, solution) for s in steps) <= NOTHING_USD:
        none = np.zeros(len(result.prices.nodes))
        return replace(result, prices=_split(result.prices, none, none))
    before = window.without_margins
    split = node_prices(before.model, before.networks[t], *before.duals(t, plain()), before.model.hours)
    (p, q), (plain_p, plain_q) = result.prices.total(), split.total()
    return replace(result, prices=_split(split, p - plain_p, q - plain_q))


def without_margins(window: WindowClearing, p_mw: Real, solution: QPSolution) -> QPSolution:
    """The window cleared without margins at the same demand, with the duals nearest to the prices of a solution."""
    before = window.without_margins
    return before.nearest_dual(before.solve(p_mw), p_mw, window.sensitivity(solution))


def _worth_usd(window: WindowClearing, t: int, solution: QPSolution) -> float:
    margins = window.margins(t)
    return 0.0 if margins is None else float(window.duals(t, solution)[1] @ margins)


def _split(plain: NodePrices, active: Real, reactive: Real) -> NodePrices:
    return NodePrices(plain.nodes, {**plain.active, "risk": active}, {**plain.reactive, "risk": reactive})
