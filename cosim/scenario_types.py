"""What the sections of a scenario file are made of: their base class and checked kinds of values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")]
BusName = Annotated[str, Field(min_length=1, coerce_numbers_to_str=True)]
Connection = Literal["three_phase", "per_phase", "ab", "bc", "ca", "a", "b", "c", "12", "1", "2"]
Mode = Literal["uncoordinated", "decentralized", "welfare", "centralized"]
MODES: tuple[Mode, ...] = ("uncoordinated", "decentralized", "welfare", "centralized")


class Section(BaseModel):
    """A part of a scenario: unknown keys are errors and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)
