"""Which network a scenario runs on: a feeder of tables, or an OpenDSS circuit itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cosim.scenario.types import BriefSection


class NetworkDoor(BriefSection):
    """The feeder and its model.

    The feeder is one of tables (``feeder``: a shipped one by name, or a folder beside the scenario), or an OpenDSS
    circuit itself (``dss``: its script), whatever it is made of: then ``model`` is ``ac-linear``, and regulators and
    capacitors stay where the script's own solution leaves them. ``controls`` of tables: their controls move regulators
    and capacitors before each step, never within one (``between_steps``; this is so where the feeder has controls and
    nothing is said), or they stay where the tables and ``taps`` have them (``fixed``). They act on the forecast that
    work runs on arrival or, where limits are posted and nothing is said or ``follow``, on what is drawn.
    """

    feeder: str | None = None
    dss: str | None = None
    model: Literal["lindist3flow", "ac-linear"] = "ac-linear"
    taps: dict[str, int] = Field(default_factory=dict)
    controls: Literal["fixed", "between_steps", "follow"] | None = None

    def follows(self, *modes: str) -> bool:
        """Whether devices act on what is drawn: where limits are posted in one of the modes of a run, unless the
        forecast is asked for."""
        return self.controls == "follow" or (self.controls is None and "envelope" in modes)

    @model_validator(mode="before")
    @classmethod
    def _model_without_losses(cls, data: object) -> object:
        """One model alone can leave losses out, so that it need not be written."""
        if isinstance(data, dict) and "model" not in data and data.get("losses") is False and "dss" not in data:
            return {**data, "model": "lindist3flow"}
        return data

    @model_validator(mode="after")
    def _one_door(self) -> NetworkDoor:
        if (self.feeder is None) == (self.dss is None):
            raise ValueError("exactly one of feeder (tables) and dss (an OpenDSS script) says what the network is")
        if self.dss is not None:
            if self.model != "ac-linear":
                raise ValueError(f"model {self.model} needs a feeder of tables; with dss: model ac-linear")
            if self.taps:
                raise ValueError("taps needs a feeder of tables; with dss the script says where regulators stand")
            if self.controls in ("between_steps", "follow"):
                raise ValueError(f"controls {self.controls} needs a feeder of tables; with dss: controls fixed")
        return self
