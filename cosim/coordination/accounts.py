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
from cosim.protocol.roles import Array, Position, PriceList
from cosim.results.columns import Columns

CUSTOMERS, FIXED, UPSTREAM = "other customers", "fixed generation", "upstream market"
"""Parties that no scenario names; names in a scenario have no spaces."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the accounts in each of some steps: energy (kWh) and money (USD), (steps,) each, never negative but for
    ``reactive_usd`` and own cost.

    Attributes:
        received_usd, paid_usd: for active and reactive power together.
        reactive_usd: received less paid for reactive power.
        own_cost_usd: fuel, wear, work that waits, broken limits: paid to nobody in the accounts.
    """

    party: str
    kind: str
    unit: str
    bought_kwh: Array
    sold_kwh: Array
    received_usd: Array
    paid_usd: Array
    reactive_usd: Array
    own_cost_usd: Array


_NAMES = ("party", "kind", "unit")
_NUMBERS = tuple(field.name for field in fields(Entry) if field.name not in _NAMES)


def together(positions: Sequence[Position]) -> Position:
    """What one unit draws in several steps, (steps, terminals), at prices of that shape; without its own cost."""
    first, held = positions[0], [p.held for p in positions if p.held is not None]
    return Position(
        first.unit, first.kind, first.owner,
        np.array([p.p_mw for p in positions]), np.array([p.q_mvar for p in positions]),
        PriceList(
            np.array([p.price.p_usd_per_mwh for p in positions]),
            np.array([p.price.q_usd_per_mvarh for p in positions]),
        ),
        held=together(held) if held else None,
    )  # fmt: skip


def owed_usd(market: Market, position: Position) -> tuple[Array, Array]:
    """What a unit owes for active and for reactive power: price times what it draws, where it holds a position beside
    that, and what it owes for that. Reactive power has no price where the settlement is on active power.

    Args:
        position: in one step, or (steps, terminals) in several; what is owed is a number, or (steps,).
    """
    price, h, held = position.price, market.hours, position.held
    p_mw, q_mvar = position.p_mw, position.q_mvar
    if held is not None:
        p_mw, q_mvar = p_mw - held.p_mw, q_mvar - held.q_mvar
    active = h * (price.p_usd_per_mwh * p_mw).sum(axis=-1)
    reactive = h * (price.q_usd_per_mvarh * q_mvar).sum(axis=-1)
    if market.settles_active:
        reactive = np.zeros_like(active)
    if held is None:
        return active, reactive
    before = owed_usd(market, held)
    return active + before[0], reactive + before[1]


def entry_of(market: Market, positions: Sequence[Position]) -> Entry:
    """The row of a unit in some steps: what it draws or gives, and what it owes or is owed; see :func:`owed_usd`."""
    position = together(positions)
    active, reactive = owed_usd(market, position)
    drawn, owed = KILO * market.hours * position.p_mw.sum(axis=-1), active + reactive
    return Entry(
        position.owner, position.kind, position.unit, _positive(drawn), _positive(-drawn), _positive(-owed),
        _positive(owed), -reactive, np.array([p.own_cost_usd for p in positions]),
    )  # fmt: skip


def _positive(values: Array) -> Array:
    return np.where(values < 0.0, 0.0, values)


def accounts_of(operator: str, entries: Sequence[Entry], operator_cost_usd: Array) -> list[Entry]:
    """The accounts of a feeder in some steps: those of all others, and the operator as the other side of each of them.

    Args:
        operator_cost_usd: (steps,) what they cost the operator itself.
    """

    def total(name: str) -> Array:
        of_steps = np.array([getattr(e, name) for e in entries]).T.copy()
        return np.asarray(of_steps.sum(axis=1))

    return [
        *entries,
        Entry(
            operator, "operator", operator, total("sold_kwh"), total("bought_kwh"), total("paid_usd"),
            total("received_usd"), -total("reactive_usd"), operator_cost_usd,
        ),
    ]  # fmt: skip


def rows_of(steps: Sequence[int], feeder: str, entries: Sequence[Entry]) -> Columns:
    """Rows of the table ``accounts``, step by step."""
    names = {name: [getattr(e, name) for e in entries] * len(steps) for name in _NAMES}
    numbers = {name: np.array([getattr(e, name) for e in entries]).T.ravel() for name in _NUMBERS}
    return {
        "step": np.repeat(np.array(steps), len(entries)), **({"feeder": feeder} if feeder else {}), **names, **numbers
    }
