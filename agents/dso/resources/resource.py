"""What a resource of the operator is: the contract that every kind fulfils, of the package or of a user's own.

A kind is one file: a pydantic model of its section in a scenario file, and a subclass of :class:`Resource` that states
over a window what it decides (:meth:`Resource.state`). A scenario names it by the module's name in this folder, or by
import path::

    resources:
      - {name: b1, kind: battery, bus: "740", connection: per_phase, energy_kwh: 400, power_kw: 200, s_kva: 220}
      - {name: e1, kind: "my_package.electrolyser:Electrolyser", bus: "718", p_max_kw: 100}
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dso.resources.statement import Statement
from cosim.grid.feeder.connections import terminals_of
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal
from cosim.scenario.calendar import MarketCalendar
from cosim.scenario.loading import validated
from cosim.scenario.series.spec import SeriesSpec
from cosim.scenario.series.units import Quantity
from cosim.scenario.types import BusName, Connection, Name, Section

Real = NDArray[np.float64]
Row: TypeAlias = "tuple[str, str, str, float, float]"
Series = Callable[[SeriesSpec, str, float, float, Quantity | None], Real]


class ResourceSpec(Section):
    """What every resource says in a scenario file; a kind adds its own keys.

    ``owner``: whose accounts it is booked in (default: its own).
    """

    name: Name
    bus: BusName
    connection: Connection = "three_phase"
    owner: Name | None = None


@dataclass(frozen=True, slots=True)
class Driven:
    """A series whose errors move what a resource gives.

    Attributes:
        key: of the series in the scenario. series: (steps of the horizon,) as it is known.
        mw_per_terminal: what each terminal gives per unit of it.
    """

    key: str
    series: Real
    mw_per_terminal: float


@dataclass(frozen=True, slots=True)
class Symbol:
    """How a kind is drawn on a map: words of the legend, Matplotlib marker and its size in points."""

    label: str
    marker: str
    size: float = 17.0


@dataclass(frozen=True, slots=True)
class Site:
    """Where a resource stands.

    Attributes:
        feeder, calendar: of the scenario.
        key: of the resource's section, for messages.
        read: values (steps of the horizon,) of a series, given its key, least and largest value allowed.
    """

    feeder: Feeder
    calendar: MarketCalendar
    key: str
    read: Series

    def terminals(self, bus: str, connection: str) -> tuple[Terminal, ...]:
        """Terminals of a device: see :func:`cosim.grid.feeder.connections.terminals_of`."""
        return terminals_of(self.feeder, bus, connection, self.key)

    def series(
        self,
        spec: SeriesSpec,
        key: str,
        least: float = -np.inf,
        largest: float = np.inf,
        quantity: Quantity | None = None,
    ) -> Real:
        """(steps of the horizon,) values of a series of the resource's section.

        Raises:
            InputError: it cannot be read, is in another unit than ``quantity`` has, or has a value out of range.
        """
        return self.read(spec, f"{self.key}.{key}", least, largest, quantity)


class Resource(ABC):
    """A device that the operator dispatches; power is positive when it generates.

    Args:
        spec: its checked section. site: where it stands.

    A class with a pydantic model ``Parameters`` is made with ``parameters`` besides: what its section says of them.

    Attributes:
        Spec: the model of its section.
        kind: what the dispatch table and the map call it.
        symbol: how a map draws it.
    """

    Spec: ClassVar[type[Section]]
    kind: ClassVar[str]
    symbol: ClassVar[Symbol]

    def __init__(self, spec: Any, site: Site) -> None:
        self.name: str = spec.name
        self.owner: str = getattr(spec, "owner", None) or spec.name
        self.terminals = site.terminals(spec.bus, spec.connection)

    @classmethod
    def parameters(cls, section: Mapping[str, Any], key: str) -> Section:
        """The checked section of a scenario file, its ``kind`` left out; ``key`` is where it stands."""
        return validated(cls.Spec, section, key)

    @abstractmethod
    def state(self, window: Statement) -> None:
        """State what it decides over a window: variables, rows, cost and what it injects where.

        The variables, their names and order are the same for every window, whatever its length.
        """

    def delivered(self, t: int, values: Mapping[str, float]) -> None:  # noqa: B027
        """Remember what the next window starts from.

        Args:
            t: step of the horizon that was committed.
            values: of its variables in it, by the names it gave them.
        """

    def rows(self, powers: Sequence[tuple[Terminal, float, float]]) -> list[Row]:
        """Rows of the dispatch table: (unit, kind, phase, MW, Mvar), generation positive.

        Args:
            powers: (terminal, MW, Mvar) of what it injects, in the order stated.
        """
        return [(self.name, self.kind, phase_of(terminal), p, q) for terminal, p, q in powers]

    def driven(self) -> Sequence[Driven]:
        """Series whose errors move the active power of its terminals, each of which it injects by one variable."""
        return ()

    def expected(self, t: int) -> Sequence[tuple[Terminal, float, float]]:
        """(terminal, MW, Mvar generated) that controls of regulators and capacitors may count on in a step."""
        return ()


def phase_of(terminal: Terminal) -> str:
    """What tables call the phase of a terminal."""
    return terminal.phases[0] if len(terminal.phases) == 1 else "abc"


def by_terminal(name: str, terminals: Sequence[Terminal], i: int) -> str:
    """Name of a variable of the i-th terminal: plain if there is but one."""
    return name if len(terminals) == 1 else f"{name}.{phase_of(terminals[i])}"
