"""Units that the name of a column says, as ``price_usd_per_kwh`` or ``load_percent``, and what they come to in ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from cosim.errors import InputError

Quantity = Literal["price", "share", "temperature"]

OURS: dict[Quantity, str] = {"price": "usd_per_mwh", "share": "per_unit", "temperature": "c"}
"""The unit in which cosim counts each quantity; a share is of 1."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: a value in ours is ``factor`` times the value plus ``offset``.

    Attributes:
        quantity: what it measures; None for what no series of a scenario measures, and for money other than USD.
    """

    quantity: Quantity | None
    factor: float = 1.0
    offset: float = 0.0


_CURRENCIES = ("eur", "gbp", "cad", "aud", "jpy", "cny", "chf", "sek", "nok", "dkk", "pln", "inr", "brl")
UNITS: dict[str, Unit] = {
    "usd_per_mwh": Unit("price"), "usd_per_kwh": Unit("price", 1000.0), "usd_per_gwh": Unit("price", 0.001),
    "cents_per_kwh": Unit("price", 10.0), "ct_per_kwh": Unit("price", 10.0),
    "per_unit": Unit("share"), "pu": Unit("share"), "share": Unit("share"), "fraction": Unit("share"),
    "percent": Unit("share", 0.01), "pct": Unit("share", 0.01),
    "c": Unit("temperature"), "degc": Unit("temperature"), "celsius": Unit("temperature"),
    "f": Unit("temperature", 5 / 9, -160 / 9), "degf": Unit("temperature", 5 / 9, -160 / 9),
    "fahrenheit": Unit("temperature", 5 / 9, -160 / 9), "k": Unit("temperature", 1.0, -273.15),
    **{unit: Unit(None) for unit in ("w", "kw", "mw", "gw", "wh", "kwh", "mwh", "gwh", "kva", "mva", "kvar", "mvar",
                                     "a", "kv", "w_per_m2", "kg_per_mwh", "m_per_s")},
    **{f"{money}_per_{energy}": Unit(None) for money in _CURRENCIES for energy in ("kwh", "mwh")},
}  # fmt: skip
"""What the end of a column's name may say, in lower case."""


def unit_named(column: str) -> str | None:
    """The unit at the end of a column's name, the longest that fits; None where it says none.

    ``Price [EUR/MWh]`` and ``price_eur_per_mwh`` say the same; a name that is a unit altogether says it too.
    """
    plain = column.lower().replace("%", " percent ").replace("$", " usd ").replace("€", " eur ").replace("£", " gbp ")
    plain = plain.replace("/", " per ").replace("°", " ")
    words = re.findall(r"[a-z0-9]+", plain)
    for first in range(len(words)):
        if "_".join(words[first:]) in UNITS:
            return "_".join(words[first:])
    return None


def conversion(
    column: str | None, stated: str | None, quantity: Quantity | None, scaled: bool, key: str, file: str | None
) -> tuple[Unit, str | None]:
    """How values become ours, and the unit they are in if that is another one.

    Args:
        column: name of the column, of which the unit is read where none is stated.
        stated: unit that the scenario states.
        quantity: what the series measures; None where any unit will do.
        scaled: whether the scenario gives a scale of its own.
        key: name of the series in error messages; file: of its table.

    Raises:
        InputError: an unknown unit, one of another quantity without a scale, or one that is converted beside a scale.
    """
    name = stated if stated is not None else (None if column is None else unit_named(column))
    if name is None or quantity is None:
        return Unit(quantity), None
    ours = OURS[quantity]
    fitting = sorted(u for u, unit in UNITS.items() if unit.quantity == quantity)
    if name not in UNITS:
        raise InputError("no such unit", file=file, key=f"{key}.unit", value=name, allowed=", ".join(fitting))
    unit = UNITS[name]
    if unit.quantity != quantity:
        if scaled and stated is None:
            return Unit(quantity), None  # the scenario says what turns it into ours
        raise InputError(f"the column is in {name}, the series in {ours}", file=file, key=key, value=column or name,
                         allowed=f"a scale that turns {name} into {ours}, or one of {', '.join(fitting)}")  # fmt: skip
    if unit == Unit(quantity):
        return unit, None
    if scaled and stated is None:
        raise InputError(f"the column's name says {name}, which is turned into {ours} by itself, and there is a scale",
                         file=file, key=f"{key}.scale", value=column,
                         allowed=f"no scale; or unit: {ours} if the numbers are not in {name}")  # fmt: skip
    return unit, name
