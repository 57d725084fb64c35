"""What a run tells of itself while it is under way: a file of JSON lines, which goes before results get their name."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from cosim.results.columns import Columns
from cosim.results.record import Record, utc_now

UNDERWAY_FILE = "progress.jsonl"
FORMAT = "cosim-underway"
_APART_S, _APART_SHARE = 0.25, 1e-3
"""Seconds between two lines, and the same as a share of the time so far: a run of days leaves a few thousand lines."""
Progress = Callable[[int, int, str], None]


class Underway:
    """Writes how far a run is into its folder; used as a context manager, whose end removes the file.

    The first line says what the run is, each further line how far it was at a time. What is told shortly after a line
    replaces it, so that the last line always is the present. A file that cannot be written is no reason to stop.

    Args:
        folder: of the run, while it is under way. kind: ``run``, ``comparison`` or another kind of study.
        name: of the scenario. what: more to know of it, as its mode.
    """

    def __init__(self, folder: Path, kind: str, name: str, **what: object) -> None:
        self._path = folder / UNDERWAY_FILE
        self._head = {"format": FORMAT, "kind": kind, "name": name, "started": utc_now(), **what}
        self._file: FileIO | None = None
        self._place = self._length = 0
        self._began = self._last_s = time.monotonic()
        self._state: dict[str, Any] = {}
        self._cost_usd = 0.0

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._file = FileIO(self._path, "x")
            self._put(self._head)
            self._next_line()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)

    @classmethod
    def of(cls, draft: Record, folder: Path) -> Self:
        """That of a run of which so much is known before it starts."""
        return cls(folder, "run", draft.scenario, mode=draft.mode, seed=draft.seed)

    def say(self, text: str) -> None:
        """Tell what is being done now."""
        self._write({"doing": text})

    def also(self, progress: Progress | None) -> Progress:
        """A receiver of progress that writes it here, and hands it on."""

        def tell(done: int, total: int, text: str) -> None:
            self._state |= {"done": done, "total": total}
            self._write({"doing": text})
            if progress is not None:
                progress(done, total, text)

        return tell

    def see(self, table: str, columns: Columns) -> None:
        """Take in what a simulation books; it is written with the progress that is told next.

        Of ``prices`` the spread over the feeder in the last step is kept, of ``steps`` the cost so far. ``posted`` is a
        round of a negotiation: its number, residuals, and the prices that are posted next (USD/MWh). Rows that are not
        as they should be are left to who checks the tables.
        """
        with suppress(TypeError, ValueError, LookupError):
            if table == "prices" and np.size(columns.get("dlmp_p", ())):
                self._state |= {"step": int(np.ravel(columns["step"])[-1]), **_spread(columns["dlmp_p"])}
            elif table == "steps" and columns:
                self._cost_usd += float(np.sum(columns["social_cost_usd"]))
                self._state["cost_usd"] = self._cost_usd
            elif table == "posted":
                self._state |= {name: columns[name] for name in OF_A_ROUND} | _spread(columns["price_usd_per_mwh"])
                self._state.pop("step", None)  # they are of all steps of a window

    def _write(self, now: Mapping[str, Any]) -> None:
        at_s = time.monotonic()
        if at_s - self._last_s >= max(_APART_S, _APART_SHARE * (at_s - self._began)):
            self._last_s = at_s
            self._next_line()
        self._put({"s": round(at_s - self._began, 3), **self._state, **now})
        for name in OF_A_ROUND:  # they hold for this moment alone
            self._state.pop(name, None)

    def _put(self, data: Mapping[str, Any]) -> None:
        """Write the present line over what it said before."""
        if self._file is None:
            return
        line = json.dumps(data, default=str).encode()
        self._length = max(self._length, len(line))
        with suppress(OSError):
            self._file.seek(self._place)
            self._file.write(line.ljust(self._length) + b"\n")

    def _next_line(self) -> None:
        self._place, self._length = self._place + self._length + 1, 0


OF_A_ROUND = ("round", "price_residual", "power_residual_kw")
"""What is known of a round beside its prices: number, residuals (USD/MWh and kW)."""


def _spread(prices_usd_per_mwh: Any) -> dict[str, float]:
    """Lowest, mean and highest price, USD/MWh; nothing where a price is not finite."""
    prices = np.asarray(prices_usd_per_mwh, dtype=float)
    if not prices.size or not np.isfinite(prices).all():
        return {}
    found = {"low": prices.min(), "mean": prices.mean(), "high": prices.max()}
    return {name: round(float(value), 4) for name, value in found.items()}
