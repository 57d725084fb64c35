"""What a scenario says of every resource of the operator; the kind checks the rest, which it alone knows."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from cosim.scenario.types import KIND, BusName, Name, Section


class ResourceSection(Section):
    """A resource of the operator: what every kind says; the other keys are checked by the kind.

    ``kind``: one that comes with the operator, as ``battery`` or ``flexible_load``, or ``package.module:Class``.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Name
    kind: Annotated[str, Field(min_length=1, max_length=300, pattern=KIND)]
    bus: BusName

    def own_keys(self) -> dict[str, Any]:
        """Everything but the kind."""
        return {"name": self.name, "bus": self.bus, **(self.model_extra or {})}
