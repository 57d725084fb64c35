"""The books of a simulation: what it writes as it goes."""

from __future__ import annotations

from dataclasses import dataclass, field

from cosim.coordination.base import Outcome
from cosim.coordination.stochastic import Worth
from cosim.results.columns import Columns, Pile
from cosim.results.spool import Kept, Shelf
from cosim.results.tables import Tables


@dataclass(slots=True)
class Books:
    """What a simulation leaves: rows of every table, and what no table can say.

    Attributes:
        shelf: where the rows of past windows are.
        piles: rows that are not on the shelf yet.
    """

    shelf: Shelf = field(default_factory=Kept)
    piles: dict[str, Pile] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    welfare_usd: float | None = 0.0
    worth: list[Worth] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, table: str, columns: Columns) -> None:
        """Append rows to a table."""
        if table not in self.piles:
            self.piles[table] = Pile(table)
        self.piles[table].add(columns)
        self.shelf.see(table, columns)

    def pack(self, least: int = 1) -> None:
        """Put the rows so far on the shelf, of tables that have at least so many: frames of few rows cost time."""
        for table, pile in self.piles.items():
            if pile.rows >= least:
                self.shelf.add(table, pile.take())

    def tables(self) -> Tables:
        """The tables, when all is written."""
        self.pack()
        return self.shelf.close()
