"""A market under way: every agent's process, and the windows that they agree on, one after the other."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy

from cosim.coordination.base import Coordination, Market, Outcome, Process
from cosim.protocol.desk import Opening, bidding, conducting
from cosim.protocol.roles import Array
from cosim.scenario.calendar import Window


@dataclass(slots=True)
class _UnderWay:
    """The window that is open: ``over`` happens with its outcome, or with what was raised in a process."""

    over: simpy.Event


class Session:
    """Starts the process of each agent and has windows agreed on.

    An agent's process is its ``run(env, desk)``; for those that have none an operator's is :func:`conducting` and an
    aggregator's :func:`bidding`. What is raised in a process is raised where the window's outcome is waited for.

    Args:
        beside: a session of the same agents at the same desks, whose processes do for this one too; windows of both
            are open one at a time.
    """

    def __init__(self, market: Market, mode: Coordination, beside: Session | None = None) -> None:
        mode.admit(market)
        self._market, self._mode = market, mode
        env = market.env
        self._under_way: _UnderWay = _UnderWay(env.event()) if beside is None else beside._under_way
        if beside is not None:
            return
        for operator, seat in zip(market.operators, market.operator_desks, strict=True):
            run = getattr(operator, "run", None)
            self._start(conducting(seat) if run is None else run(env, seat))
        for agent, desk in zip(market.aggregators, market.desks, strict=True):
            run = getattr(agent, "run", None)
            self._start(bidding(agent, env, desk) if run is None else run(env, desk))

    def open(self, window: Window, declared_p_mw: Array) -> tuple[str, ...]:
        """Have the operators linearise their networks for a window around the declared demand; what to know of that."""
        if not self._mode.limits:
            self._market.operator.open_window(window, declared_p_mw)
            return ()
        share = self._market.operator.open_limited(window, declared_p_mw)
        if share == 1.0:
            return ()
        return (
            f"window at step {window.first}: power flow has no solution at the demand that was declared; limits are "
            f"worked out from {100 * share:.3g} % of it on",
        )

    def agree(self, window: Window, declared_p_mw: Array) -> Process:
        """Open a window to the agents, and wait for its outcome.

        Raises:
            Exception: what was raised in the process of an agent.
        """
        market, rounds = self._market, window.max_rounds if self._mode.posts else 0
        if not self._mode.decides_alone:
            for agent, desk in zip(market.aggregators, market.desks, strict=True):
                operators = {x.seat.operator.name: x.own for x in market.links if x.aggregator is agent}
                own = declared_p_mw[:, agent.columns]
                desk.open(Opening(window, own, rounds, operators, self._mode.limits))
        over = self._under_way.over = market.env.event()
        self._start(self._conducted(window, declared_p_mw, over))
        ended: Outcome | Exception = yield over
        if isinstance(ended, Exception):
            raise ended
        return ended

    def _conducted(
        self, window: Window, declared_p_mw: Array, over: simpy.Event
    ) -> Generator[simpy.Event, Any, None]:
        """The process of a window as the mode has it."""
        over.succeed((yield from self._mode.run(self._market, window, declared_p_mw)))

    def _start(self, process: Generator[simpy.Event, Any, None]) -> None:
        self._market.env.process(process).callbacks.append(self._ended)

    def _ended(self, process: simpy.Process) -> None:
        """Hand on what was raised as a value: of an event that fails SimPy raises a copy, which loses its details."""
        over = self._under_way.over
        if not process.ok and not over.triggered:
            process.defused = True
            over.succeed(process.value)
