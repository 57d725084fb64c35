"""The result tables' columns as data: names, kinds, units, keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from cosim.constants import LEGS, PHASES, PRICE_PARTS

SCHEMA_VERSION = 1

Kind = Literal["int", "float", "text", "bool", "time"]
DTYPES: dict[Kind, str] = {
    "int": "int64", "float": "float64", "text": "str", "bool": "bool", "time": "datetime64[us]",
}  # fmt: skip
ARROW: dict[Kind, pa.DataType] = {
    "int": pa.int64(), "float": pa.float64(), "text": pa.string(), "bool": pa.bool_(),
    "time": pa.timestamp("us"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its kind, unit, and what it may hold.

    Attributes:
        nullable: whether a value may be missing (NaN).
        optional: whether the whole column may be left out; it is then filled with missing values.
        unsaid: whether a table without the column stays without it, its key too.
        allowed: the only values that a text column may hold, if that is limited.
    """

    name: str
    kind: Kind
    unit: str = ""
    nullable: bool = False
    optional: bool = False
    unsaid: bool = False
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Schema:
    """One table: its columns in order, and the columns that it is sorted by.

    Attributes:
        unique: whether the key names a row; the log of messages may hold the same message twice.
        optional: whether there is a file only if there are rows.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    unique: bool = True
    optional: bool = False


def _key(*names: str) -> tuple[Column, ...]:
    """Columns that name a row. A feeder is named in the tables of runs with several feeders."""
    return tuple(Column(n, "int" if n in ("step", "round") else "text", unsaid=n == "feeder") for n in names)


def _floats(unit: str, *names: str, nullable: bool = False, optional: bool = False) -> tuple[Column, ...]:
    return tuple(Column(n, "float", unit, nullable or optional, optional) for n in names)


def _phase(*allowed: str) -> Column:
    return Column("phase", "text", allowed=allowed)


_PLACES = (*PHASES, *LEGS, "1", "2", "12")
_ANY_PHASE = (*_PLACES, "abc")

SCHEMAS: dict[str, Schema] = {
    s.name: s
    for s in (
        Schema(
            "steps",
            "Market steps: price and power at the substation, costs, rounds of negotiation",
            (
                *_key("step"),
                Column("time", "time", "local time"),
                *_key("mode", "market"),
                *_floats("USD/MWh", "price_sub_usd_per_mwh"),
                *_floats("kW", "p_sub_kw"),
                *_floats("kvar", "q_sub_kvar"),
                *_floats("USD", "dso_cost_usd", "dca_payment_usd", "dca_own_cost_usd", "social_cost_usd"),
                Column("rounds", "int"),
                Column("converged", "bool"),
                *_floats("kWh", "slack_kwh"),
                *_floats("kW", "p_sub_ac_kw", "losses_ac_kw", optional=True),
            ),
            ("step",),
        ),
        Schema(
            "feeders",
            "Market steps feeder by feeder, in runs with several feeders",
            (
                *_key("step", "feeder"),
                *_floats("USD/MWh", "price_sub_usd_per_mwh"),
                *_floats("kW", "p_sub_kw"),
                *_floats("kvar", "q_sub_kvar"),
                *_floats("USD", "dso_cost_usd", "dca_payment_usd"),
                *_floats("kWh", "slack_kwh"),
                *_floats("kW", "p_sub_ac_kw", "losses_ac_kw", optional=True),
            ),
            ("step", "feeder"),
            optional=True,
        ),
        Schema(
            "accounts",
            "Energy and money of every party, unit by unit; payments received less paid add up to nothing",
            (
                *_key("step", "feeder", "party", "kind", "unit"),
                *_floats("kWh", "bought_kwh", "sold_kwh"),
                *_floats("USD", "received_usd", "paid_usd", "reactive_usd", "own_cost_usd"),
            ),
            ("step", "feeder", "party", "kind", "unit"),
            optional=True,
        ),
        Schema(
            "prices",
            "Locational prices (DLMP) and their parts, per bus and phase or delta leg",
            (
                *_key("step", "feeder", "bus"),
                _phase(*_PLACES),
                *_floats("USD/MWh", "dlmp_p"),
                *_floats("USD/Mvarh", "dlmp_q"),
                *_floats("USD/MWh", *PRICE_PARTS[:-1]),
                *_floats("USD/Mvarh", *(f"q_{part}" for part in PRICE_PARTS[:-1]), optional=True),
                Column(PRICE_PARTS[-1], "float", "USD/MWh", unsaid=True),
                Column(f"q_{PRICE_PARTS[-1]}", "float", "USD/Mvarh", unsaid=True),
            ),
            ("step", "feeder", "bus", "phase"),
        ),
        Schema(
            "demand",
            "Power drawn by each data center",
            (
                *_key("step", "datacenter"),
                _phase(*_ANY_PHASE),
                *_floats("kW", "p_kw"),
                *_floats("kvar", "q_kvar"),
                *_floats("1", "utilisation"),
                Column("backup_kw", "float", "kW", nullable=True, unsaid=True),
            ),
            ("step", "datacenter", "phase"),
        ),
        Schema(
            "dispatch",
            "Output of the operator's resources, negative where they draw, and the import at the substation",
            (
                *_key("step", "feeder", "unit", "kind"),
                _phase(*_ANY_PHASE),
                *_floats("kW", "p_kw"),
                *_floats("kvar", "q_kvar"),
            ),
            ("step", "feeder", "unit", "phase"),
        ),
        Schema(
            "voltages",
            "Voltages of the linear network and of AC power flow",
            (
                *_key("step", "feeder", "bus"),
                _phase(*_PLACES),
                *_floats("pu", "v_pu"),
                *_floats("pu", "v_ac_pu", nullable=True),
            ),
            ("step", "feeder", "bus", "phase"),
        ),
        Schema(
            "flows",
            "What enters branches at their end nearer to the source (negative: towards it), current, and loading in "
            "percent of the rating; of the linear network and of AC power flow",
            (
                *_key("step", "feeder", "branch"),
                _phase(*_PLACES),
                *_key("bus"),
                *_floats("kW", "p_kw"),
                *_floats("kvar", "q_kvar"),
                *_floats("A", "current_a"),
                *_floats("%", "loading_pct", nullable=True),
                *_floats("kW", "p_ac_kw", nullable=True),
                *_floats("kvar", "q_ac_kvar", nullable=True),
                *_floats("A", "current_ac_a", nullable=True),
                *_floats("%", "loading_ac_pct", nullable=True),
            ),
            ("step", "feeder", "branch", "phase"),
            optional=True,
        ),
        Schema(
            "limits",
            "Limits that bind in the linear network, or are broken there or in AC power flow: by how much, and what "
            "loosening them by one unit would save (0 or more)",
            (
                *_key("step", "feeder", "kind", "element"),
                _phase(*_ANY_PHASE),
                Column("source", "text", allowed=("linear", "ac")),
                Column("status", "text", allowed=("binding", "broken")),
                *_floats("as unit says", "value", "limit", "beyond"),
                *_floats("%", "beyond_pct"),
                Column("unit", "text", allowed=("pu", "kVA", "kW", "kvar", "%")),
                *_floats("as price_unit says", "shadow_price", nullable=True),
                *_key("price_unit"),
                Column("in_base_case", "text", allowed=("yes", "no", "unknown")),
                Column("margin", "float", "as unit says", nullable=True, unsaid=True),
            ),
            ("step", "feeder", "kind", "element", "phase", "source"),
            optional=True,
        ),
        Schema(
            "unbalance",
            "Voltage unbalance: VUF (IEC), LVUR (NEMA, line to line), PVUR (IEEE, phase)",
            (*_key("step", "feeder", "bus"), *_floats("%", "vuf_pct", "lvur_pct", "pvur_pct", nullable=True)),
            ("step", "feeder", "bus"),
        ),
        Schema(
            "taps",
            "Regulators and capacitors whose controls move them: tap or steps in service, and how far it moved before "
            "the step",
            (
                *_key("step", "feeder", "device"),
                Column("kind", "text", allowed=("regulator", "capacitor")),
                _phase(*_PLACES, "cb", "ac", "ba", "abc"),
                Column("position", "int"),
                Column("moves", "int"),
            ),
            ("step", "feeder", "device", "phase"),
            optional=True,
        ),
        Schema(
            "work",
            "Computing work: arrived and waiting by where it arrived, served by where it ran",
            (
                *_key("step", "datacenter", "class"),
                *_floats("MWh", "arrived_mwh", "served_mwh", "deferred_mwh", "late_mwh"),
                Column("lost_mwh", "float", "MWh", nullable=True, unsaid=True),
            ),
            ("step", "datacenter", "class"),
        ),
        Schema(
            "envelopes",
            "Limits of connections that are not firm: posted and in force, what the site would draw if work ran on "
            "arrival, and which limit of the network binds",
            (
                *_key("step", "feeder", "datacenter"),
                *_floats("kW", "firm_kw", "flexible_kw", "posted_kw", "limit_kw", "wanted_kw", "drawn_kw"),
                Column("status", "text", allowed=("free", "limited", "held", "breach", "lost")),
                *_key("kind", "element"),
                Column("phase", "text", allowed=(*_ANY_PHASE, "")),
                *_key("rule"),
            ),
            ("step", "feeder", "datacenter"),
            optional=True,
        ),
        Schema(
            "deviations",
            "Two settlements: what data centers hold from day ahead and what they draw, and payments for both (with "
            "reactive power where it is paid for); last, what the deviation would cost at day-ahead prices",
            (
                *_key("step", "feeder", "aggregator", "datacenter"),
                _phase(*_ANY_PHASE),
                *_floats("kW", "position_kw", "drawn_kw", "deviation_kw"),
                *_floats("kvar", "deviation_kvar"),
                *_floats("USD/MWh", "day_ahead_usd_per_mwh", "real_time_usd_per_mwh"),
                *_floats("USD/Mvarh", "day_ahead_usd_per_mvarh", "real_time_usd_per_mvarh"),
                *_floats("USD", "day_ahead_payment_usd", "deviation_payment_usd", "deviation_day_ahead_usd"),
            ),
            ("step", "feeder", "aggregator", "datacenter", "phase"),
            optional=True,
        ),
        Schema(
            "rounds",
            "Rounds of the negotiation, per window (named by its first step, and by the settlement if there are two)",
            (
                *_key("step"),
                Column("stage", "text", unsaid=True, allowed=("day_ahead", "real_time")),
                *_key("round"),
                *_floats("s", "time"),
                *_floats("USD/MWh", "price_residual"),
                *_floats("kW", "power_residual_kw"),
                *_floats("USD", "dca_cost_usd", "dso_cost_usd"),
            ),
            ("step", "stage", "round"),
        ),
        Schema(
            "messages",
            "Every message, lost ones without an arrival",
            (
                *_floats("s", "sent"),
                *_floats("s", "received", nullable=True),
                *_key("sender", "receiver", "kind", "step", "round"),
            ),
            ("sent", "sender", "receiver", "kind", "step", "round", "received"),
            unique=False,
        ),
        Schema(
            "buses",
            "Buses of the feeder: coordinates and nominal line-to-line voltage",
            (
                *_key("feeder", "bus"),
                *_floats("", "x", "y", nullable=True),
                *_floats("kV", "kv"),
                Column("role", "text", allowed=("bus", "source")),
            ),
            ("feeder", "bus"),
        ),
        Schema(
            "branches",
            "Lines, transformers and regulators",
            _key("feeder", "name", "from_bus", "to_bus"),
            ("feeder", "name"),
        ),
        Schema(
            "units",
            "Where data centers and the operator's resources are connected, and how a map draws them",
            (
                *_key("feeder", "unit", "kind", "bus"),
                _phase(*_ANY_PHASE),
                *(Column(name, "text", nullable=True, optional=True) for name in ("label", "marker")),
                *_floats("pt", "size", optional=True),
            ),
            ("feeder", "unit", "phase"),
        ),
    )
}
