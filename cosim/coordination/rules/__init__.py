"""Update rules of the negotiation, by name or by import path.

=================  =======================================================  ================================
name               what is posted                                           who learns what
=================  =======================================================  ================================
``best_response``  prices of the bids                                       operator: bids
``averaged``       prices of the average of the bids                        operator: bids
``proximal``       prices of the bids, penalty for leaving them             operator: bids
``admm``           price and target between both sides, penalty matrix      operator: bids; aggregator: target,
                                                                            how steep the operator's cost is there
``bundle``         cost and price of the last bid in each step              operator: bids, own cost, price;
                                                                            aggregator: operator's cost there
``anticipating``   prices and how they move with demand                     operator: bids; aggregator: slopes
``tariff``         a tariff that nobody negotiates                          operator: one bid
=================  =======================================================  ================================

Every bid also carries the bidder's own cost and its regret, which the stopping test and the books need.
"""

from __future__ import annotations

from cosim.coordination.rules.admm import Admm
from cosim.coordination.rules.anticipating import Anticipating
from cosim.coordination.rules.base import AGREED, Cut, Posted, Regrets, Round, Rule
from cosim.coordination.rules.bundle import Bundle
from cosim.coordination.rules.simple import Averaged, BestResponse, Proximal
from cosim.coordination.rules.tariff import Tariff
from cosim.errors import InputError
from cosim.scenario.own_code import agent_class

RULES: dict[str, type[Rule]] = {
    "admm": Admm,
    "anticipating": Anticipating,
    "averaged": Averaged,
    "best_response": BestResponse,
    "bundle": Bundle,
    "proximal": Proximal,
    "tariff": Tariff,
}

__all__ = ["AGREED", "RULES", "Cut", "Posted", "Regrets", "Round", "Rule", "find_rule"]


def find_rule(name: str) -> type[Rule]:
    """The update rule of that name, or the class at ``package.module:Class``.

    Raises:
        InputError: no such rule.
    """
    if ":" in name:
        found = agent_class(name, "decentralized.rule")
        if issubclass(found, Rule):
            return found
    if name not in RULES:
        raise InputError(
            "no such update rule",
            key="decentralized.rule",
            value=name,
            allowed=f"{', '.join(sorted(RULES))}, or package.module:Class of a Rule",
        )
    return RULES[name]
