"""Which network a scenario runs on (a feeder of tables, or an OpenDSS circuit itself), and limits of some buses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cosim.scenario.types import BriefSection, BusName, NonNegative, PerUnit, Positive, Section


class UnbalanceSpec(Section):
    """A price on voltage unbalance, USD/h per (percent VUF)^2, and limits of it, percent, at each named bus.

    VUF (``limit_pct``) is |V2|/|V1|, linearised; PVUR (``pvur_limit_pct``) the largest deviation of a phase's magnitude
    from the mean of the three, on three-wire buses in the centroid frame. A limit is broken rather than kept where
    keeping it costs more than the price cap.
    """

    price_usd_per_pct2h: NonNegative = 0.0
    limit_pct: Positive | None = None
    pvur_limit_pct: Annotated[float, Field(gt=0, le=20)] | None = None
    buses: tuple[BusName, ...] = ()

    @model_validator(mode="after")
    def _limit_somewhere(self) -> UnbalanceSpec:
        for key in ("limit_pct", "pvur_limit_pct"):
            if getattr(self, key) is not None and not self.buses:
                raise ValueError(f"{key} needs the buses at which it holds; allowed: buses: [...]")
        return self


class VoltageLimitSpec(Section):
    """Voltage limits of some buses, by name (``buses``), or of all with a nominal line-to-line voltage (``kv``)"""

    buses: tuple[BusName, ...] = ()
    kv: Positive | None = None
    v_min_pu: PerUnit | None = None
    v_max_pu: PerUnit | None = None

    @model_validator(mode="after")
    def _of_something(self) -> VoltageLimitSpec:
        if bool(self.buses) == (self.kv is not None):
            raise ValueError("exactly one of buses and kv says whose limits they are")
        if self.v_min_pu is None and self.v_max_pu is None:
            raise ValueError("no limit is given; allowed: v_min_pu, v_max_pu or both")
        return self


class NetworkDoor(BriefSection):
    """The feeder and its model.

    The feeder is one of tables (``feeder``: a shipped one by name, or a folder beside the scenario), or an OpenDSS
    circuit itself (``dss``: its script), whatever it is made of: then ``model`` is ``ac-linear``. ``controls``: those
    of the feeder move regulators and capacitors before each step, never within one (``between_steps``; this is so
    where the feeder has controls and nothing is said), or they stay where the tables and ``taps`` have them, or where
    the script's own solution leaves them (``fixed``). They act on the forecast that work runs on arrival or, where
    limits are posted and nothing is said or ``follow``, on what is drawn.
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
        return self
