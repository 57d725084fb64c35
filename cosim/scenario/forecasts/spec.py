"""The section of a scenario file on what is known beforehand of its series."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from cosim.scenario.types import KIND, Finite, Name, Positive, Section, twice

KINDS = ("perfect", "persistence", "error", "file")
OF_ERROR = ("std_1h", "std_24h", "reach_h", "form", "truth")
OF_FILE = ("file", "column", "issued", "time", "timezone")
_TARIFF = "tariff_usd_per_mwh"


class ForecastSpec(Section):
    """How a series is forecast.

    ``perfect`` is what happens. ``persistence`` is the same time of the last day that is known, or the last value
    (``last``), from the steps that are over; before the first day it looks at the day before the scenario begins, or,
    with ``first_day: perfect``, knows what happens. ``error`` errs by a standard deviation that grows with lead time,
    ``std_1h`` at one hour and ``std_24h`` at a day, as a power of it up to ``reach_h``: of the series' own value
    (``form: multiplicative``) or in its unit (``additive``). With ``truth: series`` the series is what happens and
    forecasts err around it; with ``truth: sampled`` the series is what is expected long before, and what happens is
    drawn by the seed. ``file`` has vintages: a table whose rows say when they were ``issued``, the ``time`` that they
    are for, and the value (``column``). Else ``kind`` is a class by import path, and ``parameters`` are for it.
    """

    kind: Annotated[str, Field(max_length=300, pattern=KIND)] = "perfect"
    last: Literal["day", "value"] = "day"
    first_day: Literal["history", "perfect"] = "history"
    std_1h: Annotated[float, Field(gt=0, le=1e6)] | None = None
    std_24h: Annotated[float, Field(gt=0, le=1e6)] | None = None
    reach_h: Annotated[float, Field(ge=1, le=8784)] = 168.0
    form: Literal["multiplicative", "additive"] = "multiplicative"
    truth: Literal["series", "sampled"] = "series"
    file: str | None = None
    column: str | None = None
    issued: str = "issued"
    time: str | None = None
    timezone: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        if ":" not in value and value not in KINDS:
            raise ValueError(f"no such kind of forecast; allowed: {', '.join(KINDS)}, or package.module:Class")
        return value

    @model_validator(mode="after")
    def _of_its_kind(self) -> ForecastSpec:
        idle = {"persistence": ("last", "first_day"), "error": OF_ERROR, "file": OF_FILE, "own": ("parameters",)}
        mine = "own" if ":" in self.kind else self.kind
        said = [k for kind, keys in idle.items() if kind != mine for k in keys if self._said(k)]
        if said:
            raise ValueError(f"a forecast of kind {self.kind} takes no {', '.join(said)}")
        if self.kind == "error":
            if self.std_1h is None or self.std_24h is None:
                raise ValueError("a forecast with an error says std_1h and std_24h")
            if self.std_24h < self.std_1h:
                raise ValueError(f"std_24h {self.std_24h:g} is below std_1h {self.std_1h:g}; errors grow with lead")
        if self.kind == "file" and (self.file is None or self.column is None or self.time is None):
            raise ValueError("vintages need file, column, and time: the column of the times that values are for")
        return self

    def _said(self, key: str) -> bool:
        return bool(getattr(self, key) != type(self).model_fields[key].get_default(call_default_factory=True))


class SeriesForecast(ForecastSpec):
    """How some series are forecast: those whose keys ``of`` names, with ``*`` for any part. They err alike."""

    name: Name
    of: Annotated[tuple[str, ...], Field(min_length=1)]

    @field_validator("of", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    def names(self, key: str) -> bool:
        """Whether it is about the series of a key."""
        return any(fnmatchcase(key, pattern) for pattern in self.of)


class CorrelationSpec(Section):
    """How the errors of two entries of ``series`` go together, -1 to 1."""

    between: tuple[Name, Name]
    value: Annotated[Finite, Field(ge=-1, le=1)]


class ForecastsSpec(Section):
    """What windows know of each series beforehand: of those named in ``series`` as said there, of all others as
    ``default`` has it, save tariffs, which are told beforehand.

    ``scale`` multiplies every standard deviation; ``correlations`` are between entries of kind ``error``.
    """

    default: ForecastSpec = ForecastSpec()
    series: tuple[SeriesForecast, ...] = ()
    correlations: tuple[CorrelationSpec, ...] = ()
    scale: Positive = 1.0

    @model_validator(mode="after")
    def _agree(self) -> ForecastsSpec:
        if self.default.kind == "file":
            raise ValueError("default: a file has the vintages of one series; allowed: an entry of series")
        if repeated := twice(e.name for e in self.series):
            raise ValueError(f"entries of series must have different names, found twice: {repeated}")
        erring = self.erring
        for i, c in enumerate(self.correlations):
            wrong = [name for name in c.between if name not in erring]
            if wrong or c.between[0] == c.between[1]:
                raise ValueError(f"correlations.{i} is between {list(c.between)}; allowed: two different entries of "
                                 f"series of kind error, which are {list(erring)}")  # fmt: skip
        if twice("|".join(sorted(c.between)) for c in self.correlations):
            raise ValueError("correlations: a pair is given twice")
        least = float(np.linalg.eigvalsh(self.correlation).min()) if erring else 1.0
        if least < -1e-9:
            raise ValueError("correlations: no errors can be correlated like this, as the matrix is not positive "
                             f"semidefinite (least eigenvalue {least:.3g})")  # fmt: skip
        return self

    @property
    def erring(self) -> tuple[str, ...]:
        """Names of the entries of kind error, in order."""
        return tuple(e.name for e in self.series if e.kind == "error")

    @property
    def correlation(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Correlation matrix of the errors of :attr:`erring`."""
        at = {name: i for i, name in enumerate(self.erring)}
        matrix = np.eye(len(at))
        for c in self.correlations:
            i, j = (at[name] for name in c.between)
            matrix[i, j] = matrix[j, i] = c.value
        return matrix

    @property
    def foresees(self) -> bool:
        """Whether all series are known perfectly, so that there is nothing to forecast."""
        return all(spec.kind == "perfect" for spec in (self.default, *self.series))

    def of(self, key: str) -> tuple[str, str, ForecastSpec]:
        """(where it stands in the file, name of its errors, how it is forecast) of the series of a key."""
        for entry in self.series:
            if entry.names(key):
                return f"forecasts.series.{entry.name}", entry.name, entry
        if key.endswith(_TARIFF):
            return "forecasts.default", key, ForecastSpec()
        return "forecasts.default", f"={key}", self.default
