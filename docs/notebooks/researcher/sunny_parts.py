"""An aggregator that would rather compute while the sun shines, and an update rule that moves prices by a part."""

from dataclasses import replace

import numpy as np
from pydantic import BaseModel, Field, NonNegativeFloat

from cosim.agents.dca import DataCenterAggregator
from cosim.coordination.rules import Posted, Rule


class SunSeeker(DataCenterAggregator):
    """Adds to the posted price what it thinks power without sun to be worse by."""

    class Parameters(BaseModel):
        sun: list[NonNegativeFloat] = Field(min_length=24, max_length=24)  # of each hour of the day
        without_sun_usd_per_mwh: NonNegativeFloat

    def __init__(self, *given, parameters):
        super().__init__(*given)
        sun = np.array(parameters.sun)
        self.extra = parameters.without_sun_usd_per_mwh * (1 - sun / sun.max())

    def respond(self, posting):
        steps, _ = posting.price_p_usd_per_mwh.shape
        extra = self.extra[(posting.step + np.arange(steps)) % 24, np.newaxis]  # steps are hours from midnight on
        felt = replace(posting, price_p_usd_per_mwh=posting.price_p_usd_per_mwh + extra)
        return super().respond(felt)  # with the regret at the price that it feels


class Damped(Rule):
    """Moves the price a share of the way from what was posted to the price of the bids."""

    class Parameters(BaseModel):
        share: float = Field(default=0.5, gt=0, le=1)

    def first(self, declared_p_mw, first_step):
        return Posted(self.market.operator.clear(declared_p_mw).prices)

    def next(self, made):
        old, new = made.posted.prices, made.clearing.prices
        share = self.parameters.share
        return Posted(
            replace(
                old,
                p_usd_per_mwh=(1 - share) * old.p_usd_per_mwh + share * new.p_usd_per_mwh,
                q_usd_per_mvarh=(1 - share) * old.q_usd_per_mvarh + share * new.q_usd_per_mvarh,
            )
        )
