"""Limits that are kept with a probability: the section of a scenario, and the errors that it goes by."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from cosim.errors import InputError
from cosim.scenario.forecasts.spec import CorrelationSpec, ForecastSpec, ForecastsSpec, SeriesForecast
from cosim.scenario.types import Finite, Section

LOAD, SUN = "*network.load_scale", ("*generators.*.profile", "*resources.*.profile")
"""Keys of the series whose errors move what is injected: the base load, and the sun on plants."""
LOAD_NAME, SUN_NAME = "chance_load", "chance_sun"
Std = Annotated[float, Field(gt=0, le=10)]


class ChanceSpec(Section):
    """How surely limits of the network are kept while load and sun err.

    Each limit of each step is kept with ``probability`` (``individual``), or all limits of a step together: each with
    an equal share of what may fail (``bonferroni``), or by the distribution of the worst of them (``scenario``). How
    load and sun err the section ``forecasts`` says; ``load_std`` and ``sun_std`` (shares of the value) say it of those
    that have no error there, each step by itself, with one ``correlation`` between the two.
    """

    probability: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    joint: Literal["individual", "bonferroni", "scenario"] = "individual"
    load_std: Std | None = None
    sun_std: Std | None = None
    correlation: Annotated[Finite, Field(ge=-1, le=1)] = 0.0


def injection_errors(
    chance: ChanceSpec, forecasts: ForecastsSpec, keys: Sequence[str], at: str = "network.chance"
) -> ForecastsSpec:
    """What errs, and how: the entries of kind ``error`` of a scenario, and what the section on chance says besides.

    A standard deviation of the section is the same at every lead time, so that steps err independently.

    Args:
        keys: of the series that move injections. at: key of the section, for messages.

    Raises:
        InputError: nothing errs, or an error is said twice.
    """
    kept = tuple(entry for entry in forecasts.series if entry.kind == "error")
    default = forecasts.default if forecasts.default.kind == "error" else ForecastSpec()
    said: list[SeriesForecast] = []
    for key, name, patterns, std in (
        ("load_std", LOAD_NAME, (LOAD,), chance.load_std),
        ("sun_std", SUN_NAME, SUN, chance.sun_std),
    ):
        mine = [k for k in keys if any(fnmatchcase(k, pattern) for pattern in patterns)]
        if std is None:
            continue
        twice = [k for k in mine if forecasts.of(k)[2].kind == "error"]
        if twice or not mine:
            raise InputError(f"forecasts say already how {twice[0]} errs" if twice else "there is no such series",
                             key=f"{at}.{key}", value=std,
                             allowed="only for series without an error of forecasts")  # fmt: skip
        level = std / forecasts.scale
        said.append(SeriesForecast(name=name, of=patterns, kind="error", std_1h=level, std_24h=level, reach_h=1))
    if chance.correlation and len(said) < 2:
        raise InputError("a correlation is between load_std and sun_std", key=f"{at}.correlation",
                         value=chance.correlation,
                         allowed="both of them, or forecasts.correlations between entries")  # fmt: skip
    pair = (CorrelationSpec(between=(LOAD_NAME, SUN_NAME), value=chance.correlation),) if len(said) == 2 else ()
    found = ForecastsSpec(
        default=default, series=(*said, *kept), correlations=(*forecasts.correlations, *pair), scale=forecasts.scale
    )
    if not any(found.of(key)[2].kind == "error" for key in keys):
        raise InputError("nothing errs that moves injections, so that limits would be kept as they are", key=at,
                         value=chance.probability,
                         allowed="an error of network.load_scale or of profiles in forecasts, or load_std, "
                                 "sun_std")  # fmt: skip
    return found
