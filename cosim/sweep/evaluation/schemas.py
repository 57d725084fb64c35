"""The tables of an evaluation as data: columns, units, keys."""

from __future__ import annotations

from cosim.results.schemas import Column, Schema


def _floats(unit: str, *names: str, nullable: bool = False) -> tuple[Column, ...]:
    return tuple(Column(name, "float", unit, nullable) for name in names)


VIOLATIONS = Schema(
    "violations",
    "Limits that break in any sample, step by step: how often, its 95 % interval (Clopper and Pearson), how far",
    (
        Column("step", "int"), Column("kind", "text"), Column("element", "text"), Column("phase", "text"),
        Column("samples", "int"), Column("broken", "int"), *_floats("1", "frequency", "low", "high"),
        *_floats("as unit says", "limit", "mean_excess", "worst_excess"), Column("unit", "text"),
    ),
    ("step", "kind", "element", "phase"),
)  # fmt: skip
STEPS = Schema(
    "steps",
    "How often the limit that breaks most does in each step, and how often any does",
    (
        Column("step", "int"), Column("time", "time"), Column("samples", "int"),
        *_floats("1", "worst", "worst_low", "worst_high", "any", "any_low", "any_high"), Column("unsolved", "int"),
    ),
    ("step",),
)  # fmt: skip
SAMPLES = Schema(
    "samples",
    "What each sample costs: the import at drawn prices, and the payment of the data centers; steps with broken limits",
    (
        Column("sample", "int"), *_floats("MWh", "import_mwh", nullable=True),
        *_floats("USD", "import_cost_usd", "payment_usd", nullable=True),
        Column("steps_broken", "int"), Column("steps_unsolved", "int"),
    ),
    ("sample",),
)  # fmt: skip
SCHEMAS = {schema.name: schema for schema in (VIOLATIONS, STEPS, SAMPLES)}
