"""No coordination: work runs on arrival, the operator clears once, the aggregator pays what comes out."""

from __future__ import annotations

from cosim.coordination.base import Market, Outcome, Process
from cosim.protocol.roles import Array
from cosim.scenario.calendar import Window
from cosim.scenario.schema import Scenario


class Uncoordinated:
    """The baseline: the declared demand is the final demand."""

    def check(self, scenario: Scenario) -> None:
        """Any scenario will do."""

    def run(self, market: Market, window: Window, declared_p_mw: Array) -> Process:
        """Clear the declared demand when the gate closes."""
        yield market.env.timeout(max(0, window.closes_s - market.env.now))
        own = sum(a.adopt(declared_p_mw[:, a.columns]) for a in market.aggregators)
        refined = market.operator.refine(declared_p_mw, own, last=True)
        clearing = market.operator.settle(refined.p_mw, None)
        clearing = market.award(window, 0, clearing)
        return Outcome(clearing=clearing, own_cost_usd=own, notes=refined.notes)
