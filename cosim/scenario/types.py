"""What the sections of a scenario file are made of: their base class and checked kinds of values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

_WORD = r"[A-Za-z_][A-Za-z0-9_]*"
IMPORT_PATH = rf"^{_WORD}(\.{_WORD})*:{_WORD}$"
KIND = rf"^({_WORD}(\.{_WORD})*:)?{_WORD}$"
"""A word, or an import path."""
_MOST = 1e12
"""Largest number of a file, far beyond any quantity that is meant, so that nothing overflows."""
Finite = Annotated[float, Field(ge=-_MOST, le=_MOST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=_MOST, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=_MOST, allow_inf_nan=False)]
PerUnit = Annotated[float, Field(gt=0, le=2)]
"""A voltage."""
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A name that may become the name of a file or folder, wherever it is used: no path, nothing hidden, not too long."""
BusName = Annotated[str, Field(min_length=1, max_length=100, coerce_numbers_to_str=True)]
ImportPath = Annotated[str, Field(max_length=300, pattern=IMPORT_PATH)]
"""``package.module:Class``; nothing is imported by checking it."""
Connection = Literal["three_phase", "per_phase", "ab", "bc", "ca", "a", "b", "c", "12", "1", "2"]


class Section(BaseModel):
    """A part of a scenario: unknown keys are errors and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


LeftOut = "left out"
"""Marks a key that is not written where it has its default: what nobody asked for does not show."""


class BriefSection(Section):
    """A section with keys that are marked :data:`LeftOut`."""

    @model_serializer(mode="wrap")
    def _brief(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any] | None:
        data: dict[str, Any] | None = handler(self)
        if data is None:  # a section that is absent
            return data
        for name, field in type(self).model_fields.items():
            if LeftOut in field.metadata and getattr(self, name) == field.get_default(call_default_factory=True):
                data.pop(name, None)
        return data


def twice(names: Iterable[str]) -> list[str]:
    """The names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)
