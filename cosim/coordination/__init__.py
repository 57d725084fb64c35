"""How a window is agreed on: a module for each mode, with a class of the mode's name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from cosim.coordination.base import Coordination


def coordination_of(mode: str) -> Coordination:
    """The coordination of a mode of :data:`cosim.scenario.types.MODES`: class ``Welfare`` of module ``welfare``.

    A mode is loaded when it is asked for, so that a run imports only what it needs.
    """
    return cast("Coordination", getattr(import_module(f"{__name__}.{mode}"), mode.capitalize())())
