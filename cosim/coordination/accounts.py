"""The accounts of a step: what every party draws, pays, receives and bears, with the operator as the other side of all.

Every payment is between a party and the operator of its feeder, and stands in the accounts of both. The operator's
surplus (merchandising surplus: what it receives less what it pays) is therefore an income of its own, and payments
received less paid add up to nothing over the parties of a feeder. What is drawn less what is given by all others is
the energy of its network's losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from cosim.constants import KILO
from cosim.coordination.base import Market
from cosim.protocol.roles import Position
from cosim.results.columns import Columns

CUSTOMERS, FIXED, UPSTREAM = "other customers", "fixed generation", "upstream market"
"""Parties that no scenario names; names in a scenario have no spaces."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the accounts: energy (kWh) and money (USD), never negative but for ``reactive_usd`` and own cost.

    Attributes:
        received_usd, paid_usd: for active and reactive power together.
        reactive_usd: received less paid for reactive power.
        own_cost_usd: fuel, wear, work that waits, broken limits: paid to nobody in the accounts.
    """

    party: str
    kind: str
    unit: str
    bought_kwh: float
    sold_kwh: float
    received_usd: float
    paid_usd: float
    reactive_usd: float
    own_cost_usd: float


def owed_usd(market: Market, position: Position) -> tuple[float, float]:
    """What a unit owes for active and for reactive power: price times what it draws, where it holds a position beside
    that, and what it owes for that. Reactive power has no price where the settlement is on active power."""
    price, h, held = position.price, market.hours, position.held
    p_mw, q_mvar = position.p_mw, position.q_mvar
    if held is not None:
        p_mw, q_mvar = p_mw - held.p_mw, q_mvar - held.q_mvar
    active = h * float((price.p_usd_per_mwh * p_mw).sum())
    reactive = 0.0 if market.settles_active else h * float((price.q_usd_per_mvarh * q_mvar).sum())
    if held is None:
        return active, reactive
    before = owed_usd(market, held)
    return active + before[0], reactive + before[1]


def entry_of(market: Market, position: Position) -> Entry:
    """The row of a unit: what it draws or gives, and what it owes or is owed; see :func:`owed_usd`."""
    active, reactive = owed_usd(market, position)
    drawn, owed = KILO * market.hours * float(position.p_mw.sum()), active + reactive
    return Entry(
        position.owner, position.kind, position.unit, max(drawn, 0.0), max(-drawn, 0.0), max(-owed, 0.0),
        max(owed, 0.0), -reactive, position.own_cost_usd,
    )  # fmt: skip


def accounts_of(operator: str, entries: Sequence[Entry], operator_cost_usd: float) -> list[Entry]:
    """The accounts of a feeder in a step: those of all others, and the operator as the other side of each of them."""
    totals = np.array([[getattr(e, name) for e in entries] for name in _SUMMED]).reshape(len(_SUMMED), -1)
    sold_kwh, bought_kwh, paid_usd, received_usd, reactive_usd = totals.sum(axis=1).tolist()
    own = Entry(
        operator, "operator", operator, sold_kwh, bought_kwh, paid_usd, received_usd, -reactive_usd, operator_cost_usd
    )
    return [*entries, own]


_SUMMED = ("sold_kwh", "bought_kwh", "paid_usd", "received_usd", "reactive_usd")
_COLUMNS = tuple(field.name for field in fields(Entry))


def rows_of(t: int, feeder: str, entries: Sequence[Entry]) -> Columns:
    """Rows of the table ``accounts``."""
    columns = {name: [getattr(e, name) for e in entries] for name in _COLUMNS}
    return {"step": t, **({"feeder": feeder} if feeder else {}), **columns}
