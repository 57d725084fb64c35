"""The tables of a hosting study as data: columns, units, keys."""

from __future__ import annotations

from cosim.results.schemas import Column, Schema

MEANS = ("none", "battery", "shift", "svg", "svg+battery", "svg+shift")
"""What a site has that lets it be larger: a battery, work that may wait, reactive power at the connection."""
ALL_CASES = "all"
"""Name of all cases together: in each step the least limit of any."""
BUDGETS = ("firm", "hours", "energy")


def _text(*names: str, nullable: bool = False) -> tuple[Column, ...]:
    return tuple(Column(name, "text", nullable=nullable) for name in names)


def _floats(unit: str, *names: str, nullable: bool = False) -> tuple[Column, ...]:
    return tuple(Column(name, "float", unit, nullable) for name in names)


_BINDING = (
    Column("kind", "text", nullable=True),
    *_text("element", "phase", nullable=True),
)
_MEANS = Column("means", "text", allowed=MEANS)

CONNECTIONS = Schema(
    "connections",
    "Connections that were looked at: a bus, or several that share a draw",
    (*_text("connection", "bus", "phases"), *_floats("1", "share", "power_factor")),
    ("connection", "bus"),
)
CONTINGENCIES = Schema(
    "contingencies",
    "Cases: what is out of service, and in how many steps the feeder by itself breaks limits or has no solution",
    (*_text("case", "outage"), Column("steps_without_solution", "int"), Column("steps_broken", "int"),
     Column("limits_broken", "int"), Column("counted", "bool")),
    ("case",),
)  # fmt: skip
CAPACITY = Schema(
    "capacity",
    "Capacity of a connection: firm, and for a budget of hours or energy; what limits it",
    (
        *_text("case", "connection"),
        _MEANS,
        Column("budget_of", "text", allowed=BUDGETS),
        *_floats("%", "budget_pct"),
        *_floats("kW", "capacity_kw"),
        Column("open_ended", "bool"),
        *_floats("%", "limited_hours_pct", "not_served_pct"),
        *_BINDING,
        *_floats("%", "binding_pct", nullable=True),
        *_text("in_case", nullable=True),
        Column("broken_in_base", "bool"),
        *_floats("%", "broken_steps_pct"),
        *_floats("kW", "unbroken_kw", nullable=True),
    ),
    ("case", "connection", "means", "budget_of", "budget_pct"),
)
HOURLY_LIMITS = Schema(
    "hourly_limits",
    "Largest draw at a connection in each step, and the limit that binds",
    (*_text("case", "connection"), _MEANS, Column("step", "int"), *_floats("kW", "limit_kw", nullable=True), *_BINDING),
    ("case", "connection", "means", "step"),
)
DURATION = Schema(
    "duration",
    "Duration curve: the limit is at least this high in this share of the steps",
    (*_text("case", "connection"), _MEANS, *_floats("%", "at_least_pct"), *_floats("kW", "limit_kw")),
    ("case", "connection", "means", "at_least_pct"),
)
CURTAILMENT = Schema(
    "curtailment",
    "Steps in which a site of a capacity is limited, and energy that it is not served, over all cases",
    (*_text("connection"), _MEANS, *_floats("kW", "capacity_kw"),
     *_floats("%", "limited_hours_pct", "not_served_pct")),
    ("connection", "means", "capacity_kw"),
)  # fmt: skip
BASE_VIOLATIONS = Schema(
    "base_violations",
    "Limits that the feeder breaks without any of the connections",
    (*_text("case", "kind", "element", "phase"), *_floats("", "limit", nullable=True), *_text("unit"),
     Column("steps", "int"), *_floats("", "worst", nullable=True)),
    ("case", "kind", "element", "phase"),
)  # fmt: skip
STEPS = Schema("steps", "Steps of the study", (Column("step", "int"), Column("time", "time", "local time")), ("step",))

SCHEMAS: dict[str, Schema] = {
    s.name: s
    for s in (CAPACITY, HOURLY_LIMITS, DURATION, CURTAILMENT, BASE_VIOLATIONS, CONTINGENCIES, CONNECTIONS, STEPS)
}
