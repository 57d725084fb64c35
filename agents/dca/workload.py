"""Computing work: what arrives where and when, what must be done by when, and what has been done.

Work is measured in MWh of dynamic IT energy. A class's work that arrives in step t must be finished by the end of
step t + max_delay_steps, and in any case by the end of the horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cosim.agents.dca.datacenter import DataCenter
from cosim.scenario.schema import WorkClassSpec, WorkloadSpec

Matrix = NDArray[np.float64]


def arrivals_mwh(
    spec: WorkloadSpec, sites: Sequence[DataCenter], utilisation: NDArray[np.float64], hours: float
) -> NDArray[np.float64]:
    """Work arriving: (classes, sites, steps) MWh, the arriving utilisation times each site's dynamic capacity.

    ``site_weight`` scales the arrivals of single sites (default 1).
    """
    shares = np.array([c.share for c in spec.classes])
    capacity = np.array([s.dynamic_mw * spec.site_weight.get(s.name, 1.0) for s in sites])
    arrived: Matrix = shares[:, None, None] * capacity[None, :, None] * utilisation[None, None, :] * hours
    return arrived


class Ledger:
    """Books of the work over the whole horizon, so that windows can follow one another.

    Args:
        classes: the work classes.
        arrivals: (classes, sites, steps) MWh.
        ends: the step before which the work that arrives in a step must be done, by the step: the end of its day where
            days finish their work, else of the horizon.
    """

    def __init__(self, classes: Sequence[WorkClassSpec], arrivals: Matrix, ends: Callable[[int], int]) -> None:
        self.classes = tuple(classes)
        self.served = np.zeros_like(arrivals)
        self._ends = ends
        self.learn(arrivals)

    def learn(self, arrivals: Matrix) -> None:
        """Go by these arrivals from now on: those of past steps have happened, others are expected."""
        self.arrivals = arrivals
        self._arrived = arrivals.cumsum(axis=2)
        self._due = np.zeros_like(arrivals)
        steps = arrivals.shape[2]
        for k, c in enumerate(self.classes):
            if c.max_delay_steps < steps:
                self._due[k, :, c.max_delay_steps :] = self._arrived[k, :, : steps - c.max_delay_steps]
        self._due[:, :, -1] = self._arrived[:, :, -1]

    def planned_until(self, first: int, last: int) -> int:
        """Step until which the work of a window of steps ``first`` to ``last`` (exclusive) is planned.

        It is at least the end of the longest delay of what arrives in the first step, or of the time in which that must
        be done: whoever looks less far ahead would put work off until more is due at once than can be done.
        """
        longest = max(c.max_delay_steps for c in self.classes)
        return max(last, min(first + longest + 1, self._ends(first)))

    def backlog(self, step: int) -> Matrix:
        """Work (classes, sites) MWh that arrived before ``step`` and is not yet done."""
        if step == 0:
            return np.zeros(self.arrivals.shape[:2])
        waiting: Matrix = np.maximum(self._arrived[:, :, step - 1] - self.served[:, :, :step].sum(axis=2), 0.0)
        return waiting

    def may_wait(self, first: int, last: int) -> Matrix:
        """Most work (classes, sites, last - first) MWh that may still wait at the end of each step of a window.

        Where a day that ends with the window must finish its work, all that arrived is due at its end from now on.
        """
        if self._ends(first) <= last:
            due = self._due[:, :, last - 1 :]
            np.maximum(due, self._arrived[:, :, last - 1 : last], out=due)
        wait: Matrix = self._arrived[:, :, first:last] - self._due[:, :, first:last]
        return np.asarray(np.maximum(wait, 0.0))

    def overdue(self, step: int) -> Matrix:
        """Work (classes, sites) MWh past its deadline at the end of ``step``."""
        overdue: Matrix = np.maximum(self._due[:, :, step] - self.served[:, :, : step + 1].sum(axis=2), 0.0)
        return overdue

    def commit(self, step: int, served: Matrix) -> None:
        """Book the work (classes, origin sites) MWh that was done in a step."""
        self.served[:, :, step] = served
