"""Where agents sit: all that the rest of the market has of an agent's process, and the aggregator's process itself.

An agent's process waits for its own mailbox, decides and answers. Whoever is at the other end of the channel sees
messages alone, so a federate on another machine needs the same three things in its place: a clock, a mailbox, and the
demand that it publishes when the gate closes.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import simpy
from numpy.typing import NDArray

from cosim.protocol.channel import Mailbox
from cosim.protocol.messages import Award, Bid, Message, PricePosting, current
from cosim.protocol.roles import AggregatorAgent
from cosim.scenario.calendar import Window

Array = NDArray[np.float64]
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """A window that opens to an aggregator.

    Attributes:
        declared_p_mw: (steps, own terminals) what it declared for it, in MW.
        rounds: how many rounds fit into it; 0 where nothing is posted.
    """

    window: Window
    declared_p_mw: Array
    rounds: int


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """What an aggregator goes into delivery with.

    Attributes:
        p_mw: (steps, own terminals) demand that it has adopted; own_cost_usd: its own cost of that.
        awarded: whether it is what an award says.
    """

    p_mw: Array
    own_cost_usd: float
    awarded: bool


class Desk(Generic[Task, Result]):
    """An agent's place in the market: its mailbox, and windows that are opened to it and closed by it.

    Args:
        env: the simulation clock.
        mailbox: its own; nobody else reads it.
    """

    def __init__(self, env: simpy.Environment, mailbox: Mailbox) -> None:
        self._env = env
        self.mailbox = mailbox
        self.opened, self.closed = env.event(), env.event()

    def open(self, task: Task) -> None:
        """Give the agent its part of the next window; ``closed`` then happens with what it leads to."""
        opened, self.opened, self.closed = self.opened, self._env.event(), self._env.event()
        opened.succeed(task)

    def close(self, result: Result) -> None:
        """Say what the agent's part of the window led to."""
        self.closed.succeed(result)


AggregatorDesk = Desk[Opening, Standing]


def bidding(
    agent: AggregatorAgent, env: simpy.Environment, desk: AggregatorDesk
) -> Generator[simpy.Event, Any, None]:
    """The process of an aggregator: it answers postings until it is awarded a demand, and adopts that.

    Mail is read in the middle of each round of the window. It answers the newest posting, and one that comes again with
    the same bid again. If no award has arrived when the gate closes (one that arrives at that moment is in time), it
    goes by what it knows to have counted: its last bid; if that was asked for again, as its round was not complete, the
    bid before; and if there is none, what it declared.
    """
    while True:
        opening: Opening = yield desk.opened
        window, mailbox, part = opening.window, desk.mailbox, _Part(agent, opening.window.first)
        for number in range(opening.rounds):
            yield env.timeout(window.opens_s + (number + 0.5) * window.round_s - env.now)
            mail = mailbox.read()
            if mail and part.awarded(mail):
                break
            answer = part.answer(mail) if mail else None
            if answer is not None:
                mailbox.send(answer)
        else:
            yield env.timeout(window.closes_s - env.now)
            yield env.timeout(0)  # after whatever else happens at this moment
            part.awarded(mailbox.read(before=math.inf))
        stands = part.stands()
        p_mw = opening.declared_p_mw if stands is None else stands.p_mw
        desk.close(Standing(p_mw, agent.adopt(p_mw), part.award is not None))


def conducting(desk: Desk[Generator[simpy.Event, Any, Result], Result]) -> Generator[simpy.Event, Any, None]:
    """The process of an operator: it conducts each window as the mode has it, and reads its own mailbox in doing so."""
    while True:
        conduct = yield desk.opened
        desk.close((yield from conduct))


@dataclass(slots=True)
class _Part:
    """An aggregator's part in the window that begins with a step.

    Attributes:
        bid: its answer to the newest posting; again: whether that posting came once more after it was answered.
        before: the bid before, which must have counted, as the operator went on from it.
        award: what it is awarded.
    """

    agent: AggregatorAgent
    step: int
    bid: Bid | None = None
    again: bool = False
    before: Bid | None = None
    award: Award | None = None

    def awarded(self, mail: Sequence[Message]) -> bool:
        """Take up an award of this window; whether there is one."""
        for award in current(mail, Award, self.step):
            self.award = award
        return self.award is not None

    def answer(self, mail: Sequence[Message]) -> Bid | None:
        """The bid that answers what arrived; None if nothing did that is not stale."""
        answered = 0 if self.bid is None else self.bid.round
        postings = current(mail, PricePosting, self.step, answered)
        if not postings:
            return None
        if self.bid is None or postings[-1].round > answered:
            self.before, self.again = self.bid, False
            self.bid = self.agent.respond(postings[-1])
        else:
            self.again = True
        return self.bid

    def stands(self) -> Award | Bid | None:
        """What the aggregator goes by; None: what it declared."""
        if self.award is not None:
            return self.award
        return self.before if self.again else self.bid
