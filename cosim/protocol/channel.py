"""The channel between agents: delivers messages under SimPy with seeded delay, loss, copies and outages; logs each.

A message goes into its receiver's mailbox when its delay is over. A receiver reads its mailbox at a deadline
and finds what arrived strictly before it: a message that arrives exactly at the deadline is late and is found
at the next reading. With zero latency a message arrives at the time at which it was sent, in time for any
later deadline. Times are kept to the microsecond, so that rounding in sums of delays decides nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simpy

from cosim.protocol.messages import Message
from cosim.scenario.channel import ChannelSpec, LatencySpec, OutageSpec

_DIGITS = 6


@dataclass(slots=True)
class MessageRecord:
    """What the log keeps of a message; its fate is written down when it is known.

    Attributes:
        sent_s: simulation time of sending, in seconds.
        received_s: time of arrival in the mailbox; None when lost, or still under way.
        sender: who sent it.
        receiver: whom it was sent to.
        kind: kind of message.
        step: first step of the window it belongs to.
        round: round it belongs to.
        lost: whether the channel lost it.
    """

    sent_s: float
    received_s: float | None
    sender: str
    receiver: str
    kind: str
    step: int
    round: int
    lost: bool = False


@dataclass(slots=True)
class _Link:
    """One direction between two agents: its delay, its loss, and whether it is in a bad spell."""

    delay: Callable[[], float]
    loss: float
    bad: bool = False


class Mailbox:
    """What an agent has of the channel: it sends, and reads what has arrived.

    Args:
        env: the simulation clock.
        send: hands a message to whatever carries it.
    """

    def __init__(self, env: simpy.Environment, send: Callable[[Message], None]) -> None:
        self._env = env
        self.send = send
        self._letters: deque[tuple[float, Message]] = deque()

    def put(self, arrival: float, message: Message) -> None:
        """Lay a message into the mailbox that arrives now, at this time."""
        self._letters.append((arrival, message))

    def read(self, before: float | None = None) -> list[Message]:
        """Take out what arrived strictly before now, or before another time, in order of arrival."""
        limit = self._env.now if before is None else before
        messages = []
        while self._letters and self._letters[0][0] < limit:
            messages.append(self._letters.popleft()[1])
        return messages


class Channel:
    """Carries messages between named agents.

    A message is lost by chance, in a bad spell of its link, while its sender or link is down when it is sent, or its
    receiver or link when it would arrive. A copy is a message of its own, with a delay of its own, so messages may
    overtake each other; all are in the log.

    Args:
        env: the simulation clock.
        spec: distributions of delay and loss, and outages; times in seconds.
        rng: the channel's own generator. Each message draws the same numbers whether or not they are needed, so
            changing the loss leaves the delays of the same messages as they were.
    """

    def __init__(self, env: simpy.Environment, spec: ChannelSpec, rng: np.random.Generator) -> None:
        self._env, self._spec, self._rng = env, spec, rng
        self._links: dict[tuple[str, str], _Link] = {}
        self._mailboxes: dict[str, Mailbox] = {}
        self._log: list[MessageRecord] = []
        self._drained = 0
        self._drained_lost = 0
        self._settlement = 0

    @property
    def log(self) -> tuple[MessageRecord, ...]:
        """Every message in the order of sending, without those that were drained."""
        return tuple(self._log)

    @property
    def sent(self) -> int:
        """Number of messages sent so far: always received + lost + in flight."""
        return self._drained + len(self._log)

    @property
    def received(self) -> int:
        """Number of messages that have arrived in a mailbox."""
        known = sum(record.received_s is not None for record in self._log)
        return known + self._drained - self._drained_lost

    @property
    def lost(self) -> int:
        """Number of messages lost."""
        return self._drained_lost + sum(record.lost for record in self._log)

    @property
    def in_flight(self) -> int:
        """Number of messages still under way."""
        return sum(record.received_s is None and not record.lost for record in self._log)

    def drain(self) -> list[MessageRecord]:
        """Take out of the log what was sent before the first message that is still under way, and before now.

        All messages that are sent or settled later were sent later than these, so that what is drained bit by bit
        is in order.
        """
        open_s = min((r.sent_s for r in self._log if r.received_s is None and not r.lost), default=np.inf)
        before = min(open_s, float(self._env.now))
        count = sum(record.sent_s < before for record in self._log)
        taken, self._log = self._log[:count], self._log[count:]
        self._drained += count
        self._drained_lost += sum(record.lost for record in taken)
        return taken

    def next_settlement(self) -> None:
        """Begin another settlement of the same steps: what was sent before counts for nothing from now on, though it is
        in the log, as a message tells windows apart by their first step alone."""
        self._settlement += 1
        for mailbox in self._mailboxes.values():
            mailbox.read(before=np.inf)

    def send(self, message: Message) -> None:
        """Send a message; it arrives after the delay, perhaps twice, or never."""
        if self._transmit(message) and self._spec.duplicate:
            self._transmit(message)

    def _transmit(self, message: Message) -> bool:
        """Put one message under way; returns whether chance wants a copy of it."""
        now, link = float(self._env.now), self._link(message)
        chance, spell, copied = self._rng.random(3).tolist()
        arrival = round(now + link.delay(), _DIGITS)
        lost = bool(chance < self._loss(link, spell)) or self._down(message, now, sending=True)
        record = MessageRecord(
            now, None, message.sender, message.receiver, message.kind, message.step, message.round, lost
        )
        self._log.append(record)
        if not lost and arrival <= now:
            self._deliver(message, record, now, self._settlement)
        elif not lost:
            # A callback on a timeout cannot lose a message, as racing a mailbox against a deadline would.
            delivery, settlement = self._env.timeout(arrival - now), self._settlement
            delivery.callbacks.append(lambda _: self._deliver(message, record, arrival, settlement))
        return bool(copied < self._spec.duplicate)

    def _link(self, message: Message) -> _Link:
        ends = (message.sender, message.receiver)
        if ends not in self._links:
            own = [k for k in self._spec.links if (k.sender, k.receiver) == ends]
            latency = next((k.latency for k in own if k.latency is not None), self._spec.latency)
            loss = next((k.loss for k in own if k.loss is not None), self._spec.loss)
            self._links[ends] = _Link(_delay_sampler(latency, self._rng), loss)
        return self._links[ends]

    def _loss(self, link: _Link, spell: float) -> float:
        """Probability of losing the next message of a link, whose spell may turn with it."""
        burst = self._spec.burst
        if burst is None:
            return link.loss
        turns = spell < (burst.to_good if link.bad else burst.to_bad)
        link.bad = link.bad != bool(turns)
        return burst.loss if link.bad else link.loss

    def _down(self, message: Message, now: float, *, sending: bool) -> bool:
        """Whether an outage stands in the way at one end."""

        def hit(outage: OutageSpec) -> bool:
            if not outage.from_s <= now < outage.to_s:
                return False
            if outage.agent:
                return outage.agent == (message.sender if sending else message.receiver)
            return (outage.sender, outage.receiver) == (message.sender, message.receiver)

        return any(hit(outage) for outage in self._spec.outages)

    def mailbox(self, name: str) -> Mailbox:
        """The mailbox of an agent, always the same one."""
        if name not in self._mailboxes:
            self._mailboxes[name] = Mailbox(self._env, self.send)
        return self._mailboxes[name]

    def _deliver(self, message: Message, record: MessageRecord, arrival: float, settlement: int) -> None:
        record.lost = self._down(message, arrival, sending=False)
        if not record.lost:
            record.received_s = arrival
            if settlement == self._settlement:
                self.mailbox(message.receiver).put(arrival, message)


def _delay_sampler(latency: LatencySpec, rng: np.random.Generator) -> Callable[[], float]:
    """A function that draws delays in seconds."""
    if latency.kind == "constant":
        return lambda: latency.seconds
    if latency.kind == "lognormal":
        return lambda: latency.median_s * float(np.exp(latency.sigma * rng.standard_normal()))
    return lambda: float(rng.uniform(latency.low_s, latency.high_s))
