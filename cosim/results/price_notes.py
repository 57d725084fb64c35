"""What the notes of a run say of prices: where they leave the price cap, and what data centers pay for limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from cosim.constants import KILO, LEGS, PHASES, PRICE_PARTS
from cosim.results.tables import Tables

NAMES = {"energy": "energy", "loss": "losses", "voltage": "voltage limits", "congestion": "branch ratings",
         "unbalance": "unbalance", "risk": "margins"}  # fmt: skip
RENT = ("voltage", "congestion", "unbalance", "risk")
"""Parts that pay for limits of the network; they cost the operator nothing unless a limit is broken."""
_WORTH_TELLING = 0.01
_LISTED_STEPS = 12


def parts_in(tables: Tables) -> tuple[str, ...]:
    """The parts that the prices of a run have."""
    return tuple(part for part in PRICE_PARTS if part != "risk" or tables.has("prices", part))


_BEYOND = "DLMPs are beyond network.price_cap_usd_per_mwh"


def beyond_cap(tables: Tables, cap_usd_per_mwh: float, charged_cap_usd_per_mwh: float | None = None) -> list[str]:
    """A line on DLMPs of active power beyond the cap in either direction, with the parts of the outermost one.

    Args:
        cap_usd_per_mwh: price of a broken limit. charged_cap_usd_per_mwh: largest price that is charged, if any.
    """
    own = parts_in(tables)
    prices = tables.only("prices", "step", "bus", "phase", "dlmp_p", *own)
    beyond = prices[prices["dlmp_p"].abs() > cap_usd_per_mwh * (1 + 1e-6)]
    if not len(beyond):
        return []
    steps = sorted(set(beyond["step"].tolist()))
    listed = ", ".join(map(str, steps[:_LISTED_STEPS])) + (" and more" if len(steps) > _LISTED_STEPS else "")
    worst = beyond.iloc[int(beyond["dlmp_p"].abs().to_numpy().argmax())]
    charged = "market.price_cap_usd_per_mwh would limit what is charged"
    if charged_cap_usd_per_mwh is not None:
        charged = f"what is charged is at most market.price_cap_usd_per_mwh = {charged_cap_usd_per_mwh:,.0f} USD/MWh"
    parts = ", ".join(f"{NAMES[k]} {worst[k]:,.0f}" for k in own if abs(worst[k]) >= 0.5)
    return [
        f"{_BEYOND} = {cap_usd_per_mwh:,.0f} USD/MWh in steps {listed}, from "
        f"{prices['dlmp_p'].min():,.0f} to {prices['dlmp_p'].max():,.0f}: the cap prices each kind of broken limit, "
        "and the kinds, energy and losses add up "
        f"(step {worst['step']}, bus {worst['bus']} {worst['phase']}: {parts}); {charged}"
    ]


def about_cap(notes: Sequence[str]) -> list[str]:
    """The notes among those of a run that explain prices beyond the cap."""
    return [note for note in notes if _BEYOND in note]


def payment_parts(tables: Tables, bus_of: Mapping[str, str], step_hours: float, reactive: bool) -> dict[str, float]:
    """What the demand of the data centers comes to at the DLMPs, in USD, by part of the price.

    A balanced three-phase connection takes an equal share of every phase, or of every leg on a three-wire bus.

    Args:
        bus_of: bus of each data center.
        reactive: whether reactive power is paid for.
    """
    at, own = set(bus_of.values()), parts_in(tables)
    columns = [*own, *(f"q_{part}" for part in own)]
    prices = tables.only("prices", "step", "bus", "phase", *columns)
    prices = prices[prices["bus"].isin(at)]
    demand = tables.only("demand", "step", "datacenter", "phase", "p_kw", "q_kvar")
    demand = demand.assign(bus=demand["datacenter"].map(bus_of))
    balanced = demand["phase"] == "abc"
    single = demand[~balanced].merge(prices, on=["step", "bus", "phase"], how="left")
    three = demand[balanced].merge(_balanced(prices, columns), on=["step", "bus"], how="left")
    found = dict.fromkeys(own, 0.0)
    for rows in (single, three):
        for part in own:
            found[part] += float((rows[part] * rows["p_kw"]).sum()) * step_hours / KILO
            if reactive:
                found[part] += float((rows[f"q_{part}"] * rows["q_kvar"]).sum()) * step_hours / KILO
    return found


def _balanced(prices: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Mean price over the phases of each bus and step; over its legs where no phase has a neutral to connect to."""
    on_legs = prices.groupby("bus")["phase"].transform(lambda phases: phases.isin(LEGS).any())
    wanted = prices["phase"].isin(LEGS).where(on_legs, prices["phase"].isin(PHASES))
    return prices[wanted].groupby(["step", "bus"], as_index=False)[list(columns)].mean()


def surplus(tables: Tables, parts: Mapping[str, float], cap_usd_per_mwh: float) -> list[str]:
    """A line on where the payment goes, if limits of the network make up a hundredth of it or it exceeds the cost.

    Args:
        parts: see :func:`payment_parts`.
        cap_usd_per_mwh: what a broken limit costs.
    """
    steps = tables.steps
    paid, cost = float(steps["dca_payment_usd"].sum()), float(steps["dso_cost_usd"].sum())
    rent = sum(parts.get(part, 0.0) for part in RENT)
    if abs(rent) <= _WORTH_TELLING * max(1.0, abs(paid)):
        return []
    split = ", ".join(f"{NAMES[part]} {value:,.2f}" for part, value in parts.items() if abs(value) >= 0.005)
    other = paid - sum(parts.values())
    rest = f", other than the DLMP {other:,.2f}" if abs(other) > 1e-4 * max(1.0, abs(paid)) else ""
    penalty = float(steps["slack_kwh"].sum()) * cap_usd_per_mwh / KILO
    broken = f", {penalty:,.2f} of it for broken limits" if penalty >= 0.005 else ""
    return [
        f"data centers pay {paid:,.2f} USD ({split}{rest}); "
        f"the operator's cost for all load is {cost:,.2f} USD{broken}. "
        f"The {rent:,.2f} USD for limits are congestion rent (merchandising surplus): "
        "they buy no energy and stay with the operator"
    ]
