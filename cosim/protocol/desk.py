"""Where agents sit: all that the rest of the market has of an agent's process, and the aggregator's process itself.

An agent's process waits for its own mailbox, decides and answers. Whoever is at the other end of the channel sees
messages alone, so a federate on another machine needs the same three things in its place: a clock, a mailbox, and the
demand that it publishes when the gate closes. An aggregator whose sites lie on several feeders hears each of their
operators, and answers all of them together.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import simpy
from numpy.typing import NDArray

from cosim.protocol.channel import Mailbox
from cosim.protocol.joint import Index, joint_posting, told_apart
from cosim.protocol.messages import Award, Bid, LimitPosting, Message, PricePosting, current
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
        operators: by name, each with the own terminals that lie on its feeder (their numbers).
        limited: whether the operators limit what is drawn; until their limits are there, to the firm parts.
    """

    window: Window
    declared_p_mw: Array
    rounds: int
    operators: Mapping[str, Index]
    limited: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """What an aggregator goes into delivery with.

    Attributes:
        p_mw: (steps, own terminals) demand that it has adopted; own_cost_usd: its own cost of that.
        awarded: whether it is what the award of each operator says.
        limits: names of the operators whose limits it kept; of others it kept to the firm parts.
    """

    p_mw: Array
    own_cost_usd: float
    awarded: bool
    limits: frozenset[str] = frozenset()


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

    Mail is read in the middle of each round of the window. It answers the newest round that every operator has posted,
    and an operator whose posting comes again with the same bid again. Where no award has arrived when the gate closes
    (one that arrives at that moment is in time), it goes by what it knows to have counted: its last bid; if that was
    asked for again, as its round was not complete, the bid before; and if there is none, what it declared. Awards of
    some operators alone are kept as far as its work can follow them.

    Where the operators limit what is drawn, it keeps to the firm parts of its agreements until it answers, and then to
    the limits that have arrived; a limit that is lost or comes later means the firm part.
    """
    while True:
        opening: Opening = yield desk.opened
        window, mailbox, part = opening.window, desk.mailbox, _Part(agent, opening, opening.declared_p_mw)
        if opening.limited:
            part.keep_to([])
        for number in range(opening.rounds):
            yield env.timeout(window.opens_s + (number + 0.5) * window.round_s - env.now)
            mail = mailbox.read()
            if mail and part.awarded(mail):
                break
            for answer in part.answers(mail):
                mailbox.send(answer)
        else:
            yield env.timeout(window.closes_s - env.now)
            yield env.timeout(0)  # after whatever else happens at this moment
            part.awarded(mailbox.read(before=math.inf))
        desk.close(part.adopted())


def conducting(desk: Desk[Generator[simpy.Event, Any, Result], Result]) -> Generator[simpy.Event, Any, None]:
    """The process of an operator: it does its part of each round as the mode has it, and reads its own mailbox then."""
    while True:
        conduct = yield desk.opened
        desk.close((yield from conduct))


@dataclass(slots=True)
class _Part:
    """An aggregator's part in a window.

    Attributes:
        bid: its answer to the newest round that every operator has posted; again: whether a posting of that round came
            once more after it was answered.
        before: the bid before, which must have counted, as the operators went on from it.
        declared_p_mw: what it draws if nothing is agreed on.
        postings: the newest of each operator; awards: of each operator what it awards; limits: that it keeps to.
    """

    agent: AggregatorAgent
    opening: Opening
    declared_p_mw: Array
    bid: Bid | None = None
    again: bool = False
    before: Bid | None = None
    postings: dict[str, PricePosting] = field(default_factory=dict)
    awards: dict[str, Award] = field(default_factory=dict)
    limits: dict[str, LimitPosting] = field(default_factory=dict)

    def keep_to(self, limits: Sequence[LimitPosting]) -> None:
        """Keep to limits as well, and to the firm parts where there are none."""
        self.limits |= {limit.sender: limit for limit in limits}
        p_max_mw = np.full_like(self.declared_p_mw, np.nan)
        for name, limit in self.limits.items():
            p_max_mw[:, self.opening.operators[name]] = limit.p_max_mw
        self.declared_p_mw = self.agent.limit(p_max_mw)

    @property
    def step(self) -> int:
        """The step that the window begins with."""
        return self.opening.window.first

    def awarded(self, mail: Sequence[Message]) -> bool:
        """Take up awards of this window; whether every operator's is there."""
        for award in current(mail, Award, self.step):
            self.awards[award.sender] = award
        return self.awards.keys() >= self.opening.operators.keys()

    def answers(self, mail: Sequence[Message]) -> list[Bid]:
        """The bids that answer what arrived; none where nothing did that is not stale, or the window is over."""
        if self.awards:
            return []
        limits = current(mail, LimitPosting, self.step) if self.opening.limited and self.bid is None else []
        if limits:
            self.keep_to(limits)
        answered = 0 if self.bid is None else self.bid.round
        again: list[str] = []
        for posting in current(mail, PricePosting, self.step, answered):
            if self.bid is not None and posting.round == answered:
                again.append(posting.sender)
            self.postings[posting.sender] = posting
        newest = {posting.round for posting in self.postings.values()}
        whole = self.postings.keys() >= self.opening.operators.keys() and len(newest) == 1
        if whole and newest != {answered if self.bid is not None else None}:
            self.before, self.again = self.bid, False
            self.bid = self.agent.respond(joint_posting(self.postings, self.opening.operators))
            return told_apart(self.bid, self.opening.operators)
        if self.bid is None or not again:
            return []
        self.again = True
        return [bid for bid in told_apart(self.bid, self.opening.operators) if bid.receiver in again]

    def adopted(self) -> Standing:
        """Adopt what the aggregator goes by: awards, else what it knows to have counted, else what it declared."""
        counted = self.before if self.again else self.bid
        known = self.declared_p_mw if counted is None else counted.p_mw
        p_mw = np.array(known)
        for name, award in self.awards.items():
            p_mw[:, self.opening.operators[name]] = award.p_mw
        whole = self.awards.keys() >= self.opening.operators.keys()
        own_cost_usd = self.agent.adopt(p_mw)
        if self.awards and not whole and not np.array_equal(p_mw, known):
            p_mw = self.agent.drawn_mw()
        return Standing(p_mw, own_cost_usd, whole, frozenset(self.limits))
