"""A photovoltaic plant: a generator that gives at most what the sun allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cosim.agents.dso.resources.generator import Generator
from cosim.agents.dso.resources.resource import Driven, Real, Site
from cosim.agents.dso.resources.statement import Index
from cosim.grid.feeder.phases import Terminal
from cosim.scenario.schema import GeneratorSpec
from cosim.scenario.types import Section


class Photovoltaic(Generator):
    """A photovoltaic plant, which can always be curtailed."""

    kind = "pv"

    def __init__(self, spec: GeneratorSpec, site: Site) -> None:
        super().__init__(spec, site)
        assert spec.profile is not None  # its schema asks for one
        self._sun, self._key = site.series(spec.profile, "profile", 0.0, 1.0, "share"), f"{site.key}.profile"

    @classmethod
    def parameters(cls, section: Mapping[str, Any], key: str) -> Section:
        return super().parameters({**section, "kind": "pv"}, key)

    def available_mw(self, steps: Sequence[int] | Index) -> Real:
        return self.p_max_mw * self._sun[np.asarray(steps, dtype=np.intp)]

    def driven(self) -> Sequence[Driven]:
        """The sun, which moves a plant that gives all it may."""
        return (Driven(self._key, self._sun, self.p_max_mw),)

    def expected(self, t: int) -> list[tuple[Terminal, float, float]]:
        """What the sun gives, at unit power factor."""
        given = float(self.available_mw([t])[0])
        return [(terminal, given, 0.0) for terminal in self.terminals]
