"""The points of an experiment: values of all factors, and the scenario keys that they set."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.errors import InputError
from cosim.sweep.experiment import Experiment, FactorSpec, RangeSpec, SampleSpec, SamplingSpec

Array = NDArray[np.float64]
_DIGITS = 12
_EDGE = 1e-12
"""Quantiles stay this far from 0 and 1, where unbounded distributions are infinite."""


@dataclass(frozen=True, slots=True)
class Level:
    """One value of a factor, and the keys that it sets."""

    value: Any
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """One combination: the value of each factor by its name, and all keys that are set."""

    factors: Mapping[str, Any]
    changes: Mapping[str, Any]


def points_of(experiment: Experiment, path: Path | None = None) -> list[Point]:
    """All points of an experiment, in the order of its factors; sampled factors vary last.

    Raises:
        InputError: paired factors of different length, or a distribution that scipy does not have.
    """
    sampled = {n: f for n, f in experiment.factors.items() if f.sample is not None}
    listed = {n: [_level(n, f, v) for v in _values(f)] for n, f in experiment.factors.items() if n not in sampled}
    drawn = _drawn(sampled, experiment.sampling, path)
    columns: dict[str, list[Level]] = {**listed, **drawn}
    if experiment.design == "paired":
        combinations = _paired(columns, path)
    else:
        rows = list(zip(*drawn.values(), strict=True)) if drawn else [()]
        combinations = ((*grid, *row) for grid in itertools.product(*listed.values()) for row in rows)
    order = [*listed, *drawn]
    points = [_point(dict(zip(order, c, strict=True)), experiment) for c in combinations]
    return points


def _paired(columns: Mapping[str, Sequence[Level]], path: Path | None) -> Iterator[tuple[Level, ...]]:
    lengths = {name: len(levels) for name, levels in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError("paired factors need equally many values", file=path, key="factors",
                         value=", ".join(f"{n}: {k}" for n, k in lengths.items()), allowed="design: full")  # fmt: skip
    return zip(*columns.values(), strict=True) if columns else iter([()])


def _point(levels: Mapping[str, Level], experiment: Experiment) -> Point:
    changes = dict(experiment.set)
    for name in experiment.factors:
        changes |= levels[name].changes
    return Point({name: levels[name].value for name in experiment.factors}, changes)


def _level(name: str, factor: FactorSpec, value: Any) -> Level:
    if factor.levels is not None:
        return Level(value, factor.levels[value])
    changes = {}
    for key, form in factor.keys.items():
        changes[key] = copy.deepcopy(value) if form.plain else _rounded(form.times * value + form.plus)
    return Level(value, changes)


def _values(factor: FactorSpec) -> Sequence[Any]:
    if factor.levels is not None:
        return list(factor.levels)
    if factor.range is not None:
        return [_number(v, factor.integer) for v in _spaced(factor.range)]
    return factor.values or ()


def _spaced(spec: RangeSpec) -> Array:
    if spec.step is not None:
        count = math.floor((spec.stop - spec.start) / spec.step * (1 + 1e-9)) + 1
        return np.asarray(spec.start + spec.step * np.arange(count))
    space = np.geomspace if spec.scale == "log" else np.linspace
    return np.asarray(space(spec.start, spec.stop, spec.count or 1))


def _number(value: float, integer: bool) -> float | int:
    return round(value) if integer else _rounded(value)


def _rounded(value: float) -> float:
    """To twelve digits, so that 0.1 + 0.2 is 0.3 in tables and file names."""
    return float(f"{value:.{_DIGITS}g}")


# -- sampling -------------------------------------------------------------------------------------------------


def _drawn(
    factors: Mapping[str, FactorSpec], sampling: SamplingSpec | None, path: Path | None
) -> dict[str, list[Level]]:
    if sampling is None:
        return {}
    cube = _cube(sampling, len(factors))
    result = {}
    for column, (name, factor) in zip(cube.T, factors.items(), strict=True):
        assert factor.sample is not None
        values = _quantiles(factor.sample, column, f"factors.{name}.sample", path)
        result[name] = [_level(name, factor, _number(float(v), factor.integer)) for v in values]
    return result


def _cube(sampling: SamplingSpec, dimensions: int) -> Array:
    """(count, dimensions) points of the unit cube."""
    from scipy.stats import qmc  # scipy.stats takes long to import, and few experiments draw

    rng = np.random.default_rng(sampling.seed)
    if sampling.method == "monte_carlo":
        points = rng.random((sampling.count, dimensions))
    elif sampling.method == "sobol":
        points = qmc.Sobol(dimensions, scramble=True, rng=rng).random(sampling.count)
    else:
        points = qmc.LatinHypercube(dimensions, rng=rng).random(sampling.count)
    return np.asarray(np.clip(points, _EDGE, 1 - _EDGE))


def _quantiles(spec: SampleSpec, at: Array, key: str, path: Path | None) -> Array:
    """Values of a factor at places of the unit interval."""
    if spec.distribution is None:
        assert spec.low is not None and spec.high is not None
        if spec.scale == "log":
            return np.asarray(spec.low * (spec.high / spec.low) ** at)
        return np.asarray(spec.low + (spec.high - spec.low) * at)
    frozen = _distribution(spec, key, path)
    if spec.within is not None:
        low, high = (float(frozen.cdf(v)) for v in spec.within)
        if not low < high:
            raise InputError("the distribution has nothing within these bounds", file=path, key=f"{key}.within",
                             value=list(spec.within))  # fmt: skip
        return np.asarray(np.clip(frozen.ppf(low + (high - low) * at), *spec.within))
    return np.asarray(frozen.ppf(at))


def distributions() -> list[str]:
    """Names of the distributions that a factor may have: those of scipy.stats that have quantiles."""
    from scipy import stats

    kinds = stats.rv_continuous | stats.rv_discrete
    return sorted(name for name in dir(stats) if isinstance(getattr(stats, name), kinds))


def _distribution(spec: SampleSpec, key: str, path: Path | None) -> Any:
    """The distribution with its parameters; (``cdf`` and ``ppf``)."""
    from scipy import stats

    known = distributions()
    name = spec.distribution or ""
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"no such distribution{hint}", file=path, key=f"{key}.distribution", value=name,
                         allowed="one of scipy.stats by name, as uniform, norm, lognorm, poisson")  # fmt: skip
    law = getattr(stats, name)
    place = ["loc", "scale"] if isinstance(law, stats.rv_continuous) else ["loc"]
    allowed = [s.strip() for s in (law.shapes or "").split(",") if s.strip()]
    unknown = sorted(set(spec.parameters) - {*allowed, *place})
    missing = [s for s in allowed if s not in spec.parameters]
    if unknown or missing:
        what = f"unknown parameter {unknown[0]!r}" if unknown else f"parameter {missing[0]!r} is missing"
        raise InputError(f"{what} of distribution {name!r}", file=path, key=f"{key}.parameters",
                         allowed=", ".join([*allowed, *place]))  # fmt: skip
    frozen = law(**spec.parameters)
    if not np.isfinite(frozen.ppf(0.5)):
        raise InputError(f"distribution {name!r} does not take these parameters", file=path, key=f"{key}.parameters",
                         value=dict(spec.parameters))  # fmt: skip
    return frozen
