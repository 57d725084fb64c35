"""The section of a scenario file on how messages travel."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cosim.scenario.types import Name, NonNegative, Positive, Probability, Section


class LatencySpec(Section):
    """Message delay in seconds: constant (``seconds``), uniform (``low``-``high``), lognormal (median, sigma)."""

    kind: Literal["constant", "uniform", "lognormal"] = "constant"
    seconds: NonNegative = 0.05
    low_s: NonNegative = 0.0
    high_s: NonNegative = 0.0
    median_s: Positive = 0.05
    sigma: NonNegative = 0.5

    @model_validator(mode="after")
    def _shortest_first(self) -> LatencySpec:
        if self.low_s > self.high_s:
            raise ValueError(f"low_s {self.low_s} is above high_s {self.high_s}")
        return self


class BurstSpec(Section):
    """Losses that come together (Gilbert-Elliott): a link turns bad and good again from message to message.

    ``to_bad`` and ``to_good`` are the probabilities of turning, ``loss`` that of losing a message while bad.
    """

    to_bad: Probability
    to_good: Annotated[float, Field(gt=0, le=1)]
    loss: Probability = 1.0


class LinkSpec(Section):
    """What is different on one link; absent fields are those of the channel."""

    sender: Name
    receiver: Name
    latency: LatencySpec | None = None
    loss: Annotated[float, Field(ge=0, lt=1)] | None = None


class OutageSpec(Section):
    """A time in which an agent neither sends nor receives, or in which one link is down (``agent``, or both ends)."""

    agent: str = ""
    sender: str = ""
    receiver: str = ""
    from_s: NonNegative
    to_s: NonNegative

    @model_validator(mode="after")
    def _somewhere_and_some_time(self) -> OutageSpec:
        if bool(self.agent) == bool(self.sender and self.receiver):
            raise ValueError("an outage is of an agent, or of a link from a sender to a receiver")
        if self.to_s <= self.from_s:
            raise ValueError(f"to_s {self.to_s} is not after from_s {self.from_s}")
        return self


class ChannelSpec(Section):
    """How messages travel: delay, loss (each message for itself, or in bursts), copies, and outages."""

    latency: LatencySpec = LatencySpec()
    loss: Annotated[float, Field(ge=0, lt=1)] = 0.0
    burst: BurstSpec | None = None
    duplicate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    links: tuple[LinkSpec, ...] = ()
    outages: tuple[OutageSpec, ...] = ()
