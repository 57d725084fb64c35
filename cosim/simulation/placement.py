"""Where data centers and resources of a run stand on its feeders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cosim.grid.feeder.connections import terminals_of
from cosim.results.layout import DATACENTER, layout_rows
from cosim.results.tables import Layout
from cosim.scenario.preparation import Prepared, PreparedFeeder, resource_sections

Symbols = Mapping[str, Mapping[str, Any]]
"""How an operator's resources are drawn, by name: kind, label, marker and size."""


def layout_of(prepared: Prepared, symbols: Mapping[str, Symbols] | None = None) -> Layout:
    """Where things are, for maps.

    Args:
        symbols: by the name of the feeder.
    """
    rows: dict[str, list[dict[str, object]]] = {}
    for feeder in prepared.feeders:
        label = {"feeder": feeder.name} if feeder.name else {}
        found = layout_rows(feeder.feeder, _units(feeder, (symbols or {}).get(feeder.name, {})))
        for table, own in found.items():
            rows.setdefault(table, []).extend({**label, **row} for row in own)
    return Layout.from_rows(rows)


def _units(prepared: PreparedFeeder, symbols: Symbols) -> list[dict[str, object]]:
    """Rows of the table ``units`` of a feeder."""
    scenario, units = prepared.scenario, list[dict[str, object]]()
    for d in scenario.datacenters:
        units += _placed(prepared, d.name, d.bus, d.connection, {"kind": "datacenter", **DATACENTER})
    with prepared.part.naming_keys():
        for key, section in resource_sections(scenario):
            symbol = symbols.get(section.name, {"kind": section.kind})
            connection = section.own_keys().get("connection", "three_phase")
            units += _placed(prepared, section.name, section.bus, connection, symbol, key)
    return units


def _placed(
    prepared: PreparedFeeder, name: str, bus: str, connection: str, symbol: Mapping[str, Any], key: str | None = None
) -> list[dict[str, object]]:
    terminals = terminals_of(prepared.feeder, bus, connection, key or name)
    phases = [t.phases[0] if len(t.phases) == 1 else "abc" for t in terminals]
    return [{"unit": name, "bus": bus, "phase": phase, **symbol} for phase in phases]
