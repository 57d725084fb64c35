"""The section of a time series."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cosim.scenario.types import Finite, Section


class SeriesSpec(Section):
    """A time series: a file (shipped by name, or a path beside the scenario), or values written inline.

    A file with a column of time is aligned by date; ``time`` names the column, ``timezone`` its zone (else the
    clock's), ``stamp`` whether a time is the start or the end of what it holds for (else as its name says). One without
    says in ``step_s`` how long a value holds and in ``begins`` the date of the first (``clock``: the scenario's start).
    ``rule`` is how values come to the market's steps: ``mean`` over the step, ``hold`` the one at its beginning,
    ``interpolate`` along straight lines, ``sum`` as of energies. ``repeat`` says what comes again. ``unit`` is that of
    the values where the column's name does not say it; ``scale`` multiplies and ``offset`` is added afterwards.
    """

    file: str | None = None
    column: str | None = None
    values: tuple[Finite, ...] | None = None
    constant: Finite | None = None
    time: str | None = None
    timezone: str | None = None
    stamp: Literal["start", "end"] | None = None
    step_s: Annotated[int, Field(gt=0, le=366 * 86_400)] | None = None
    begins: str | None = None
    rule: Literal["mean", "hold", "interpolate", "sum"] = "mean"
    repeat: Literal["day", "week", "year"] | None = None
    unit: str | None = None
    scale: Finite = 1.0
    offset: Finite = 0.0

    @model_validator(mode="after")
    def _one_source(self) -> SeriesSpec:
        given = [k for k in ("file", "values", "constant") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(f"a series takes exactly one of file, values, constant; found {given or 'none'}")
        if self.file is not None and self.column is None:
            raise ValueError("a series from a file names its column")
        of_files = {"column", "time", "timezone", "stamp"}
        said = {k for k, field in type(self).model_fields.items() if getattr(self, k) != field.default}
        idle = sorted(said & (of_files if self.file is None else set()))
        if self.constant is not None:
            idle = sorted(said & (of_files | {"step_s", "begins", "rule", "repeat"}))
        if idle:
            raise ValueError(f"a series of {given[0]} takes no {', '.join(idle)}")
        return self
