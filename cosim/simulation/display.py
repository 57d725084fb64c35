"""What a notebook shows of a run and of a comparison: figures that are asked for, and key figures as a table."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from cosim.errors import InputError
from cosim.results.by_feeder import layout_part, tables_by_feeder
from cosim.results.record import Record, VoltageLimits
from cosim.results.tables import Layout, Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Figures are imported where they are drawn: a run that draws none does not pay for them.


@dataclass(frozen=True, eq=False)
class RunPlots:
    """Figures of one run, as its report has them; each call draws a new one.

    ``feeder`` names the feeder that is drawn where there are several.

    Raises:
        InputError: there is no such feeder, or several and none is named.
    """

    record: Record
    tables: Tables
    layout: Layout

    def prices(self, feeder: str = "") -> Figure:
        """Active price at each bus in each step, mean over phases (USD/MWh)."""
        from cosim.results.figures.maps import price_heatmap

        tables, layout, _ = self._of(feeder)
        return price_heatmap(tables.prices, tables.steps, layout)

    def map(self, value: Literal["price", "voltage"] = "price", feeder: str = "") -> Figure:
        """The feeder coloured by its mean price (USD/MWh), or by its lowest voltage (pu), over all steps and phases."""
        from cosim.results.figures.runs import price_map, voltage_map

        if value not in ("price", "voltage"):
            raise InputError("no map of this", key="value", value=value, allowed="price, voltage")
        tables, layout, _ = self._of(feeder)
        return price_map(layout, tables.prices) if value == "price" else voltage_map(layout, tables.voltages)

    def voltages(self, feeder: str = "") -> Figure:
        """Lowest and highest voltage of the feeder in each step, with its limits (pu)."""
        from cosim.results.figures.runs import voltage_profile

        tables, _, limits = self._of(feeder)
        return voltage_profile(tables.voltages, tables.steps, limits)

    def _of(self, feeder: str) -> tuple[Tables, Layout, VoltageLimits]:
        parts = tables_by_feeder(self.tables, self.record.voltage_limits)
        tables, limits = _part(parts, feeder)
        return tables, layout_part(self.layout, feeder), limits


@dataclass(frozen=True, eq=False)
class ComparisonPlots:
    """Figures of several runs on the same hours, as the report of a comparison has them; see :class:`RunPlots`."""

    table: pd.DataFrame
    runs: Mapping[str, RunPlots]

    def costs(self) -> Figure:
        """Costs over the whole horizon by mode (USD)."""
        from cosim.results.figures.modes import cost_by_mode

        return cost_by_mode(self.table)

    def power(self) -> Figure:
        """Power of all data centers in each step by mode (kW)."""
        from cosim.results.figures.modes import power_by_mode

        return power_by_mode({mode: run.tables for mode, run in self.runs.items()})

    def voltages(self, feeder: str = "") -> Figure:
        """Lowest and highest voltage of the feeder in each step by mode (pu)."""
        from cosim.results.figures.modes import voltage_by_mode

        parts = {mode: run._of(feeder) for mode, run in self.runs.items()}
        limits = next(iter(parts.values()))[2]
        return voltage_by_mode({mode: part[0] for mode, part in parts.items()}, limits)


def _part(parts: Mapping[str, tuple[Tables, VoltageLimits]], feeder: str) -> tuple[Tables, VoltageLimits]:
    if feeder not in parts:
        allowed = ", ".join(filter(None, parts)) or "none is named: the run has one"
        message = "no such feeder" if feeder else "there are several feeders: name one"
        raise InputError(message, key="feeder", value=feeder, allowed=allowed)
    return parts[feeder]


def key_figures_html(title: str, records: Mapping[str, Record], failures: Mapping[str, str] | None = None) -> str:
    """Key figures as a table of HTML, a column for each run; names and messages are shown as the text they are.

    Args:
        failures: message of each run that did not end well.
    """
    from cosim.results.report import kpi_groups  # needs what writes reports: only where a table is shown

    rows = [row for group in kpi_groups(records) for row in group["rows"]]
    cells = [[*row["values"], row["unit"]] for row in rows]
    table = pd.DataFrame(cells, index=[row["label"] for row in rows], columns=[*records, "unit"])
    failed = "".join(f"<p>{html.escape(f'{name} failed: {text}')}</p>" for name, text in (failures or {}).items())
    with pd.option_context("display.max_colwidth", None):
        shown = table.to_html(max_rows=None, max_cols=None, border=0) if rows else ""
    return f"<p><strong>{html.escape(title)}</strong></p>{failed}{shown}"
