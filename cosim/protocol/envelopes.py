"""Hourly limits of connections that are not firm: what the operator works out, and what a rule of sharing decides.

Sites share what the limits of a network leave. A row ``loading @ p <= room`` is one of these limits at the corner of
the box of demand that loads it most, so that no coefficient is negative: every demand from nothing to p keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Sharing:
    """What sites of a feeder share in a step, beyond what each of them has for certain.

    Attributes:
        loading: (rows, sites), never negative; room: (rows,), never negative: ``loading @ more <= room``.
        most_mw: (sites,) most that each may get; 0 for a site whose limit stays as it was told.
        flexible_mw: (sites,) flexible part of each agreement. priority: (sites,) place in the queue, 1 is first.
        sites: their names.
    """

    loading: Array
    room: Array
    most_mw: Array
    flexible_mw: Array
    priority: NDArray[np.intp]
    sites: tuple[str, ...]


class SharingRule(Protocol):
    """How sites share what a network carries."""

    name: str
    """What the table of envelopes calls it."""

    def share(self, sharing: Sharing) -> Array:
        """(sites,) MW for each, between nothing and ``most_mw``, at which every row is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """Limits of the sites on one feeder over a window.

    Attributes:
        p_max_mw: (steps, terminals) most that each terminal may draw; what it carries where there is no agreement.
        sites: with an agreement. places: numbers of the terminals of each.
        firm_mw, flexible_mw: (sites,) of each agreement, as far as the connection carries it.
        limit_mw: (steps, sites) of each, firm part included.
        binding: (steps, sites) which limit of the network a site would break first: (kind, element, phase), empty
            texts where it may draw all that is flexible.
        status: (steps, sites) ``free``: all that is flexible; ``limited``; ``held``: as told before; ``breach``: firm
            parts alone break a limit of the network that the site loads, so that nothing is added to its own.
        notes: what a reader of the run should know.
    """

    p_max_mw: Array
    sites: tuple[str, ...]
    places: Mapping[str, tuple[int, ...]]
    firm_mw: Array
    flexible_mw: Array
    limit_mw: Array
    binding: NDArray[np.object_]
    status: NDArray[np.object_]
    notes: tuple[str, ...] = ()
