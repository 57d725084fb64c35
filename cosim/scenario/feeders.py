"""The feeders of a scenario, each as its operator sees it: a scenario with one feeder, the short spelling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cosim.errors import InputError
from cosim.scenario.schema import AT_SOURCE, OF_FEEDER, Scenario


@dataclass(frozen=True, slots=True)
class FeederPart:
    """A feeder's part of a scenario.

    Attributes:
        name: of the feeder; empty where it is the only one, in the short spelling.
        scenario: with this feeder's network, price, resources, operator and data centers at the top.
    """

    name: str
    scenario: Scenario

    def key(self, key: str) -> str:
        """Where in the file a key of this part stands."""
        if not self.name:
            return key
        return f"feeders.{self.name}.{key.removeprefix('market.')}"

    @contextmanager
    def naming_keys(self) -> Iterator[None]:
        """Name keys as they stand in the file in errors about input that are found in this part."""
        try:
            yield
        except InputError as error:
            told = error.key is not None and error.key.startswith(f"feeders.{self.name}.")
            if not self.name or told or error.key is None or error.file is not None:
                raise
            raise error.placed(lambda key: self.key(key or "")) from None


def parts_of(scenario: Scenario) -> tuple[FeederPart, ...]:
    """The parts of a scenario, feeder by feeder; the one of the short spelling is the scenario itself."""
    if not scenario.feeders:
        return (FeederPart("", scenario),)
    return tuple(FeederPart(name, _alone(scenario, name)) for name in scenario.feeders)


def _alone(scenario: Scenario, name: str) -> Scenario:
    """A scenario as it would be written for one of its feeders alone."""
    spec = scenario.feeders[name]
    market = scenario.market.model_copy(update={key: getattr(spec, key) for key in AT_SOURCE})
    return scenario.model_copy(
        update={
            "feeders": {},
            "market": market,
            **{key: getattr(spec, key) for key in ("network", *OF_FEEDER)},
            "datacenters": tuple(d for d in scenario.datacenters if scenario.feeder_of(d) == name),
        }
    )
