"""The channel between agents: delivers messages under SimPy with seeded delay and loss, and logs every one.

A message goes into its receiver's mailbox when its delay is over. A receiver reads its mailbox at a deadline
and finds what arrived strictly before it: a message that arrives exactly at the deadline is late and is found
at the next reading. With zero latency a message arrives at the time at which it was sent, in time for any
later deadline. Times are kept to the microsecond, so that rounding in sums of delays decides nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import simpy

from cosim.errors import InputError
from cosim.messages import Message
from cosim.scenario import LatencySpec

_DIGITS = 6


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """What the log keeps of a message.

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


class Channel:
    """Carries messages between named agents.

    Args:
        env: the simulation clock.
        latency: distribution of the delay, in seconds.
        loss: probability that a message is lost, 0 <= loss < 1.
        rng: the channel's own generator. Each message draws its loss and its delay whether or not it is lost,
            so changing the loss leaves the delays of the same messages as they were.

    Raises:
        InputError: a probability out of range, or a shortest delay above the longest.
    """

    def __init__(
        self, env: simpy.Environment, latency: LatencySpec, loss: float, rng: np.random.Generator
    ) -> None:
        if not 0 <= loss < 1:
            raise InputError(
                "no probability of loss", key="channel.loss", value=loss, allowed="0 <= loss < 1"
            )
        self._env = env
        self._delay = _delay_sampler(latency, rng)
        self._loss = loss
        self._rng = rng
        self._mailboxes: dict[str, deque[tuple[float, Message]]] = {}
        self._log: list[MessageRecord] = []

    @property
    def log(self) -> tuple[MessageRecord, ...]:
        """Every message in the order of sending."""
        return tuple(self._log)

    @property
    def sent(self) -> int:
        """Number of messages sent so far: always received + lost + in flight."""
        return len(self._log)

    @property
    def received(self) -> int:
        """Number of messages that have arrived in a mailbox."""
        return sum(record.received_s is not None for record in self._log)

    @property
    def lost(self) -> int:
        """Number of messages lost."""
        return sum(record.lost for record in self._log)

    @property
    def in_flight(self) -> int:
        """Number of messages still under way."""
        return sum(record.received_s is None and not record.lost for record in self._log)

    def send(self, message: Message) -> None:
        """Send a message; it arrives after the delay, or never."""
        now = float(self._env.now)
        lost = bool(self._rng.random() < self._loss)
        arrival = round(now + self._delay(), _DIGITS)
        number = len(self._log)
        self._log.append(
            MessageRecord(
                sent_s=now,
                received_s=None,
                sender=message.sender,
                receiver=message.receiver,
                kind=message.kind,
                step=message.step,
                round=message.round,
                lost=lost,
            )
        )
        if lost:
            return
        if arrival <= now:
            self._deliver(message, number, now)
            return
        # A callback on a timeout cannot lose a message, as racing a mailbox against a deadline would.
        delivery = self._env.timeout(arrival - now)
        delivery.callbacks.append(lambda _: self._deliver(message, number, arrival))

    def read(self, receiver: str) -> list[Message]:
        """Take out of a mailbox what arrived strictly before now, in order of arrival."""
        mailbox = self._mailboxes.get(receiver, deque())
        messages = []
        while mailbox and mailbox[0][0] < self._env.now:
            messages.append(mailbox.popleft()[1])
        return messages

    def _deliver(self, message: Message, number: int, arrival: float) -> None:
        self._mailboxes.setdefault(message.receiver, deque()).append((arrival, message))
        self._log[number] = replace(self._log[number], received_s=arrival)


def _delay_sampler(latency: LatencySpec, rng: np.random.Generator) -> Callable[[], float]:
    """A function that draws delays in seconds."""
    if latency.kind == "constant":
        return lambda: latency.seconds
    if latency.kind == "lognormal":
        return lambda: latency.median_s * float(np.exp(latency.sigma * rng.standard_normal()))
    if latency.low_s > latency.high_s:
        raise InputError(
            "the shortest delay is above the longest",
            key="channel.latency.low_s",
            value=latency.low_s,
            allowed=f"at most high_s = {latency.high_s}",
        )
    return lambda: float(rng.uniform(latency.low_s, latency.high_s))
