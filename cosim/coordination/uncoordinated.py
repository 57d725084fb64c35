"""No coordination: work runs on arrival, the operator clears once, the aggregator pays what comes out."""

from __future__ import annotations

from cosim.coordination.base import Market, Outcome, Process
from cosim.protocol.roles import Array
from cosim.scenario.calendar import Window
from cosim.scenario.schema import Scenario


class Uncoordinated:
    """The baseline: nobody posts anything, so that what each aggregator declared stands when the gate closes."""

    decides_alone, posts, limits = False, False, False
    agrees = False
    """Whether demand is agreed on that is kept to in delivery, whatever happens."""

    def check(self, scenario: Scenario) -> None:
        """Any scenario will do."""

    def admit(self, market: Market) -> None:
        """Any agents will do."""

    def run(self, market: Market, window: Window, declared_p_mw: Array) -> Process:
        """Clear the declared demand when the gate closes."""
        own = sum(standing.own_cost_usd for standing in (yield from market.standings()))
        refined = market.operator.refine(declared_p_mw, own, last=True)
        clearing = market.operator.settle(refined.p_mw, None)
        clearing = market.award(window, 0, clearing)
        return Outcome(clearing=clearing, own_cost_usd=own, notes=refined.notes)
