"""Rows of the table of limits: which limits bind or are broken in a cleared step, and what they cost.

The shadow price of a limit is by how much the operator's cost falls, per hour, if the limit is loosened by one unit. A
limit is a row of the clearing, or several (the sides of a polygon that stands for a circle), so it is the sum over
these rows of dual times the growth of the right-hand side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.clearing import ClearingModel
from cosim.agents.dso.network_rows import three_phase_squares
from cosim.agents.dso.resources.inverter import POLYGON_SIDES
from cosim.agents.dso.resources.resource import phase_of
from cosim.agents.dso.window import StepResult
from cosim.constants import KILO
from cosim.grid.feeder.flows import BranchFlows
from cosim.grid.feeder.limits import KINDS, LimitBook, NetworkLimits
from cosim.grid.feeder.phases import pvur
from cosim.grid.linear.network import LinearNetwork
from cosim.results.columns import Columns
from cosim.results.limit_table import row_columns

Real = NDArray[np.float64]
LEAST_USD_PER_H = 1e-3
"""Worth of a limit (its shadow price times the limit) below which a dual is what solvers leave."""


class LimitRows:
    """Writes the limits of a step that bind or are broken in the linear network.

    Args:
        limits: what is kept in the network.
        model: the clearing. network: any of the feeder's networks of the same kind.
        hours: length of a step.
    """

    def __init__(self, limits: NetworkLimits, model: ClearingModel, network: LinearNetwork, hours: float) -> None:
        self._model, self._hours = model, hours
        labels = network.voltages.labels
        place = {label: i for i, label in enumerate(labels)}
        full = three_phase_squares(labels, limits.unbalance_buses if limits.pvur_pct is not None else ())
        self._full = [(bus, [place[bus, x] for x in names], u) for bus, names, u in full]
        part = {label: i for i, label in enumerate(network.unbalance.labels)}
        chosen = [network.unbalance.labels[i][0] for i in model.outputs.unbalance[::2]]
        self._vuf = [(bus, part[bus, "re"], part[bus, "im"]) for bus in chosen] if limits.vuf_pct is not None else []
        self.book = LimitBook(
            limits, labels, network.flows_p.labels, [bus for bus, *_ in self._vuf], [bus for bus, *_ in self._full]
        )
        rows = model.inequalities
        self._rows = np.flatnonzero(rows.kind >= 0)
        first = np.array([self.book.first[kind] for kind in KINDS])
        self._limit_of = first[rows.kind[self._rows]] + rows.of[self._rows]
        self._worth_of = np.where(self.book.kinds == "rating", self.book.limit / KILO, self.book.limit)
        """(k,) each limit in the unit that its price is per."""
        self._is_pvur = rows.kind[self._rows] == KINDS.index("pvur")

    def of(self, t: int, result: StepResult, squares: Real, flows: BranchFlows) -> Columns:
        """Limits of the network and of units.

        Args:
            squares: of the voltages that have limits, and flows: of the linear network in the step.
        """
        magnitudes = [np.sqrt(np.maximum(u @ squares[places], 0.0)) for _, places, u in self._full]
        parts = result.network.unbalance.at(result.states)
        values = self.book.values(
            np.sqrt(squares),
            flows,
            {bus: float(np.hypot(parts[re], parts[im])) for bus, re, im in self._vuf},
            {bus: float(pvur(v)) for (bus, *_), v in zip(self._full, magnitudes, strict=True)},
        )
        looser = self._model.inequalities.looser[self._rows].copy()
        if self._is_pvur.any():
            mean = np.array([(v**2).mean() for v in magnitudes])
            looser[self._is_pvur] *= mean[self._model.inequalities.of[self._rows][self._is_pvur]]
        price = np.zeros(len(values))
        np.add.at(price, self._limit_of, result.duals[self._rows] * looser / self._hours)
        price[price * self._worth_of <= LEAST_USD_PER_H] = 0.0
        broken, beyond = self.book.broken(values), self.book.beyond(values)
        told = np.flatnonzero(broken | (price > 0))
        units = unit_limits(self._model, result, self._hours)
        book, unit_values = self.book, np.array([u.value for u in units])
        margins = {} if result.own.margins is None else {
            "margin": np.concatenate([self._margins(result, looser)[told], np.full(len(units), np.nan)])
        }  # fmt: skip
        unit_limit = np.array([u.limit for u in units])
        rows = row_columns(
            t,
            "linear",
            [*book.kinds[told], *(u.kind for u in units)],
            [*book.elements[told], *(u.element for u in units)],
            [*book.phases[told], *(u.phase for u in units)],
            np.concatenate([values[told], unit_values]),
            np.concatenate([book.limit[told], unit_limit]),
            np.concatenate([beyond[told], [u.beyond for u in units]]),
            np.concatenate([broken[told], np.zeros(len(units), dtype=bool)]),
            [*book.units_of(told), *(u.unit for u in units)],
            np.concatenate([price[told], [u.price for u in units]]),
        )
        return {**rows, **margins} if rows else rows

    def _margins(self, result: StepResult, looser: Real) -> Real:
        """(k,) by how much each limit is tightened, in its unit; of a polygon's sides by the most.

        A row's margin over the growth of its right-hand side per unit of the limit; of a squared voltage exactly.

        Args:
            looser: (rows,) that growth.
        """
        assert result.own.margins is not None
        book = self.book
        found, squares = np.zeros((2, len(book.kinds)))
        np.maximum.at(squares, self._limit_of, result.own.margins[self._rows])
        np.maximum.at(found, self._limit_of, result.own.margins[self._rows] / looser)
        low, high = book.kinds == "voltage_low", book.kinds == "voltage_high"
        found = np.where(low, np.sqrt(book.limit**2 + squares) - book.limit, found)
        found = np.where(high, book.limit - np.sqrt(np.maximum(book.limit**2 - squares, 0.0)), found)
        return np.asarray(np.where(book.kinds == "rating", KILO * found, found))


@dataclass(frozen=True, slots=True)
class UnitLimit:
    """A limit of a unit that binds: value, limit and distance (kW, kvar or kVA), shadow price per MW, Mvar or MVA."""

    kind: str
    element: str
    phase: str
    value: float
    limit: float
    beyond: float
    unit: str
    price: float


def unit_limits(model: ClearingModel, result: StepResult, hours: float) -> list[UnitLimit]:
    """Limits on what units give that bind: least and most P and Q, ratings, ramps from the step before.

    Limits of nought (a generator that is off, a night without sun) and those on what no terminal gives (a charge, work
    to be done) are left out.
    """
    own = result.own
    some = np.flatnonzero(result.own_duals * np.abs(own.rhs) > LEAST_USD_PER_H * hours / POLYGON_SIDES).tolist()
    if not some and not result.joined:
        return []
    ports = {}
    for port in model.ports:
        for what, place in (("p", port.p), ("q", port.q)):
            if place is not None:
                ports[place] = (what, port)
    found: dict[tuple[str, str, str], UnitLimit] = {}
    for i in some:
        columns = np.flatnonzero(own.rows[i]).tolist()
        owner, _, local = own.row_names[i].partition("/")
        if not local or not set(columns) <= ports.keys() or own.rhs[i] == 0:
            continue
        kinds = {ports[c][0] for c in columns}
        port = ports[columns[0]][1]
        phase = phase_of(port.terminal)
        kind = _unit_kind(local.replace(f".{phase}", ""), own.rows[i, columns].tolist(), kinds)
        limit, dual = float(own.rhs[i]), float(result.own_duals[i]) / hours
        if kind == "unit_rating":  # the sides of the polygon scale with the rating
            share = math.cos(math.pi / POLYGON_SIDES)
            value = math.hypot(*(float(result.x[c]) for c in columns))
            limit, price = limit / share, dual * share
            beyond = value - limit
        else:
            value, price = float(own.rows[i] @ result.x), dual
            beyond = value - limit
            if kind.endswith("_min"):
                value, limit = -value, -limit
        unit = _power_unit(kinds)
        before = found.get((kind, owner, phase))
        price += 0.0 if before is None else before.price
        found[kind, owner, phase] = UnitLimit(
            kind, owner, phase, KILO * value, KILO * limit, KILO * beyond, unit, price
        )
    for row in result.joined:
        owner, _, local = row.name.partition("/")
        if set(row.places) <= ports.keys() and row.limit:
            phase = phase_of(ports[row.places[0]][1].terminal)
            kind = _unit_kind(local.replace(f".{phase}", ""), [], set())
            unit = _power_unit({ports[c][0] for c in row.places})
            beyond = KILO * (row.value - row.limit)
            found[kind, owner, phase] = UnitLimit(
                kind, owner, phase, KILO * row.value, KILO * row.limit, beyond, unit, row.dual / hours
            )
    return [u for u in found.values() if u.price * abs(u.limit) / KILO > LEAST_USD_PER_H]


def _power_unit(kinds: set[str]) -> str:
    """Unit of a limit on active power, on reactive power, or on both."""
    return {frozenset("p"): "kW", frozenset("q"): "kvar"}.get(frozenset(kinds), "kVA")


def _unit_kind(local: str, coefficients: list[float], kinds: set[str]) -> str:
    """What a row limits, from its name and its entries: a bound of one variable, the rating of an inverter, or as the
    resource calls it."""
    name, _, side = local.partition(":")
    if side and len(coefficients) == 1:
        return f"unit_{next(iter(kinds))}_{'max' if coefficients[0] > 0 else 'min'}"
    if name.startswith("inverter["):
        return "unit_rating"
    return f"unit_{name.partition('[')[0]}"
