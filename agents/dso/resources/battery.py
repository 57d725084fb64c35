"""A battery of the operator: P and Q of each terminal within the inverter's rating, one state of charge for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from cosim.agents.dso.resources.inverter import state_inverter
from cosim.agents.dso.resources.resource import Resource, ResourceSpec, Site, Symbol, by_terminal
from cosim.agents.dso.resources.statement import Expression, Statement
from cosim.agents.storage import Storage
from cosim.constants import KILO
from cosim.errors import InputError
from cosim.scenario.types import NonNegative, Positive, Share


class BatteryResourceSpec(ResourceSpec):
    """A battery behind an inverter of ``s_kva``; ``efficiency`` is that of charging, and of discharging.

    ``lowest``, ``initial`` and ``final`` are shares of ``energy_kwh``: the least charge, that before the first step,
    and the least at the end of every window (by default that before the first step).
    """

    energy_kwh: Positive
    power_kw: Positive
    s_kva: Positive
    efficiency: Annotated[float, Field(gt=0, le=1)] = 0.95
    lowest: Share = 0.0
    initial: Share = 0.5
    final: Share | None = None
    wear_usd_per_mwh: NonNegative = 20.0
    reactive_cost_usd_per_mvar2h: NonNegative = 3.0

    @model_validator(mode="after")
    def _in_order(self) -> BatteryResourceSpec:
        for key in ("initial", "final"):
            share = getattr(self, key)
            if share is not None and share < self.lowest:
                raise ValueError(f"{key} charge {share:g} is below the lowest one, {self.lowest:g}")
        if self.power_kw > self.s_kva:
            raise ValueError(f"power_kw {self.power_kw:g} is above s_kva {self.s_kva:g}")
        return self


class Battery(Resource):
    """A battery; on several terminals each has its share of the rating, and they may differ in what they give."""

    Spec = BatteryResourceSpec
    kind = "battery"
    symbol = Symbol("battery", "P", 18.0)

    def __init__(self, spec: BatteryResourceSpec, site: Site) -> None:
        super().__init__(spec, site)
        full = spec.energy_kwh / KILO
        final = spec.initial if spec.final is None else spec.final
        self.storage = Storage(
            spec.power_kw / KILO, spec.lowest * full, full, final * full, spec.efficiency, spec.wear_usd_per_mwh
        )
        share = 1 / len(self.terminals)
        self.p_max_mw, self.s_mva = spec.power_kw * share / KILO, spec.s_kva * share / KILO
        self.reactive_cost_usd_per_mvar2h = spec.reactive_cost_usd_per_mvar2h / share
        self.charge_mwh = spec.initial * full
        window = next(iter(site.calendar.windows()))
        reach = self.charge_mwh + spec.efficiency * self.storage.power_mw * site.calendar.step_hours * window.steps
        if self.storage.kept_mwh > reach:
            raise InputError(
                "the battery cannot be charged that far within a window", key=f"{site.key}.final", value=spec.final,
                allowed=f"at most {reach / full:.4g}",
            )  # fmt: skip

    def state(self, window: Statement) -> None:
        store, given = self.storage, list[Expression]()
        for i, terminal in enumerate(self.terminals):
            p = window.active(by_terminal("p", self.terminals, i), -self.p_max_mw, self.p_max_mw)
            q = window.reactive(by_terminal("q", self.terminals, i), within=(-self.s_mva, self.s_mva))
            window.inject(terminal, p, q)
            name = by_terminal("inverter", self.terminals, i)
            state_inverter(window, p, q, self.s_mva, self.p_max_mw, name, draws=True)
            window.square_cost(q, window.hours * self.reactive_cost_usd_per_mvar2h)
            given.append(p)
        charged = window.variable("charged", 0.0, store.power_mw)
        discharged = window.variable("discharged", 0.0, store.power_mw)
        # the charge that every window ends with is a bound of its last step
        lowest = np.full(window.steps, store.lowest_mwh)
        lowest[-1] = max(store.lowest_mwh, store.kept_mwh)
        charge = window.variable("charge", lowest, store.full_mwh)
        window.equal("power", sum(given, discharged * -1.0), -charged)
        before = window.before(charge, self.charge_mwh)
        window.equal("charge", charge, store.charge_after(before, charged, discharged, window.hours))
        window.at_most("one_way", store.at_once(charged, discharged), store.power_mw)
        if store.lossy:
            window.one_of(charged, discharged)
        window.cost(store.wear_usd(discharged, window.hours))

    def delivered(self, t: int, values: Mapping[str, float]) -> None:
        self.charge_mwh = min(max(values["charge"], self.storage.lowest_mwh), self.storage.full_mwh)
