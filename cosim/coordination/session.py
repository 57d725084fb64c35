"""A market under way: every agent's process, and the windows that they agree on, one after the other."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy

from cosim.coordination.base import Coordination, Market, Outcome, Process
from cosim.protocol.desk import Opening, bidding
from cosim.protocol.roles import Array
from cosim.scenario.calendar import Window


class Session:
    """Starts the process of each agent and has windows agreed on.

    The operator's process conducts the mode; an aggregator's is its ``run``, or :func:`bidding` if it has none of its
    own. What is raised in a process is raised where the window's outcome is waited for.
    """

    def __init__(self, market: Market, mode: Coordination) -> None:
        self._market, self._mode = market, mode
        self._start(self._conducting())
        for agent, desk in zip(market.aggregators, market.desks, strict=True):
            run = getattr(agent, "run", None)
            self._start(bidding(agent, market.env, desk) if run is None else run(market.env, desk))

    def agree(self, window: Window, declared_p_mw: Array) -> Process:
        """Open a window to the agents, and wait for its outcome.

        Raises:
            Exception: what was raised in the process of an agent.
        """
        market, rounds = self._market, window.max_rounds if self._mode.posts else 0
        if not self._mode.decides_alone:
            for agent, desk in zip(market.aggregators, market.desks, strict=True):
                desk.open(Opening(window, declared_p_mw[:, agent.columns], rounds))
        market.desk.open(self._mode.run(market, window, declared_p_mw))
        ended: Outcome | Exception = yield market.desk.closed
        if isinstance(ended, Exception):
            raise ended
        return ended

    def _conducting(self) -> Generator[simpy.Event, Any, None]:
        """The operator's process: it conducts the mode, window by window, and reads its own mailbox."""
        desk = self._market.desk
        while True:
            conduct = yield desk.opened
            desk.close((yield from conduct))

    def _start(self, process: Generator[simpy.Event, Any, None]) -> None:
        self._market.env.process(process).callbacks.append(self._ended)

    def _ended(self, process: simpy.Process) -> None:
        """A process fails as a value: as an event that fails SimPy would hand on a copy, which loses what it carries."""
        closed = self._market.desk.closed
        if not process.ok and not closed.triggered:
            process.defused = True
            closed.succeed(process.value)
