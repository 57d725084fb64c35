"""What is drawn on a feeder already, step by step: loads, sun, generation; and the limits that are kept there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.limits import NetworkLimits
from cosim.grid.feeder.phases import Terminal

Real = NDArray[np.float64]
Controls = Literal["held", "fixed"]
"""Regulators and capacitors: ``held`` where their controls bring them in the base case of each step, while the new
connection draws fast; ``fixed`` where the feeder has them."""


@dataclass(frozen=True, eq=False)
class Injection:
    """Power drawn at a terminal (given: less than 0), (steps,) each."""

    terminal: Terminal
    p_kw: Real
    q_kvar: Real


@dataclass(frozen=True, eq=False)
class Surroundings:
    """A feeder and everything on it but the connections asked for.

    Attributes:
        limits: that are kept. load_scale: (steps,) factor on the feeder's own loads.
        injections: generation and sites that are part of the base case.
        controls: see :data:`Controls`; of no meaning for a feeder without any.
        notes: what was assumed, in sentences.
    """

    feeder: Feeder
    limits: NetworkLimits
    load_scale: Real
    injections: tuple[Injection, ...] = ()
    step_s: int = 3600
    start: datetime = datetime(2023, 1, 1)
    controls: Controls = "held"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = np.shape(self.load_scale)
        parts = [part for i in self.injections for part in (i.p_kw, i.q_kvar)]
        if len(shape) != 1 or not shape[0] or any(np.shape(part) != shape for part in parts):
            raise InputError("load and injections must be series of one length, at least one step long",
                             key="load_scale", value=shape)  # fmt: skip
        if not all(np.isfinite(part).all() for part in (self.load_scale, *parts)) or min(self.load_scale) < 0:
            raise InputError("load and injections must be numbers, load 0 or more", key="load_scale")

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.load_scale)
