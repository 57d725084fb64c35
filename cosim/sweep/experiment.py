"""The schema of an experiment file: what varies, how it is combined, and what is kept of each run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from cosim.errors import InputError, did_you_mean
from cosim.files import is_file
from cosim.scenario.loading import explain
from cosim.scenario.modes import Mode
from cosim.scenario.types import Finite, ImportPath, Name, Positive, Section
from cosim.yaml_reading import read_yaml

DottedKey = Annotated[str, Field(min_length=1, pattern=r"^[^\s.]+(\.[^\s.]+)*$")]
TableName = Literal[
    "steps", "prices", "demand", "dispatch", "voltages", "unbalance", "work", "rounds", "messages", "taps", "feeders",
    "flows", "limits", "envelopes", "deviations",
]  # fmt: skip
_OWN_KEYS = {"mode": "modes", "name": "the scenario file", "schema_version": "the scenario file"}


MOST_RUNS = 1_000_000
"""Most runs of an experiment."""


class LinearSpec(Section):
    """What a key is set to: the factor's value times ``times``, plus ``plus``."""

    times: Finite = 1.0
    plus: Finite = 0.0

    @property
    def plain(self) -> bool:
        """Whether the value is handed on as it is."""
        return self.times == 1.0 and self.plus == 0.0


class RangeSpec(Section):
    """Even values from ``start`` to ``stop``, both included: so many (``count``), or so far apart (``step``)."""

    start: Finite
    stop: Finite
    count: Annotated[int, Field(ge=1, le=MOST_RUNS)] | None = None
    step: Positive | None = None
    scale: Literal["linear", "log"] = "linear"

    @property
    def size(self) -> int:
        """How many values there are, at most."""
        return self.count if self.count is not None else int((self.stop - self.start) / (self.step or 1.0)) + 2

    @model_validator(mode="after")
    def _one_spacing(self) -> RangeSpec:
        if (self.count is None) == (self.step is None):
            raise ValueError("a range takes exactly one of count, step")
        if self.stop < self.start:
            raise ValueError(f"stop {self.stop:g} is below start {self.start:g}")
        if self.scale == "log" and self.start <= 0:
            raise ValueError(f"a logarithmic range starts above 0, not at {self.start:g}")
        if self.scale == "log" and self.step is not None:
            raise ValueError("a logarithmic range takes count, not step")
        return self


class SampleSpec(Section):
    """A factor drawn at random: between ``low`` and ``high``, or from a distribution of scipy.stats by name.

    ``parameters`` are those of the distribution (``loc``, ``scale``, shapes); ``within`` cuts its ends off.
    """

    low: Finite | None = None
    high: Finite | None = None
    scale: Literal["linear", "log"] = "linear"
    distribution: str | None = None
    parameters: dict[str, Finite] = Field(default_factory=dict)
    within: tuple[Finite, Finite] | None = None

    @model_validator(mode="after")
    def _bounds_or_distribution(self) -> SampleSpec:
        bounds = (self.low is not None, self.high is not None)
        if self.distribution is None:
            if not all(bounds):
                raise ValueError("a sampled factor has low and high, or a distribution")
            if self.parameters or self.within is not None:
                raise ValueError("parameters and within belong to a distribution")
            if self.low is not None and self.high is not None and self.low >= self.high:
                raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
            if self.scale == "log" and self.low is not None and self.low <= 0:
                raise ValueError(f"a logarithmic factor starts above 0, not at {self.low:g}")
        elif any(bounds) or self.scale == "log":
            raise ValueError("low, high and scale do not go with a distribution; use parameters and within")
        if self.within is not None and self.within[0] >= self.within[1]:
            raise ValueError(f"within {list(self.within)} is empty")
        return self


class FactorSpec(Section):
    """One factor: which keys it sets (its own name, if none is said), and to what.

    Exactly one of ``values``, ``range``, ``levels`` (names, each setting keys of its own) and ``sample``.
    """

    label: str = ""
    keys: dict[DottedKey, LinearSpec] = Field(default_factory=dict)
    values: tuple[Any, ...] | None = None
    range: RangeSpec | None = None
    levels: dict[str, dict[DottedKey, Any]] | None = None
    sample: SampleSpec | None = None
    integer: bool = False

    @field_validator("keys", mode="before")
    @classmethod
    def _short_forms(cls, given: Any) -> Any:
        """A key, a list of keys, or keys with a multiplier each."""
        if isinstance(given, str):
            return {given: {}}
        if isinstance(given, list) and all(isinstance(key, str) for key in given):
            return {key: {} for key in given}
        if isinstance(given, dict):
            return {k: {"times": v} if isinstance(v, int | float) else v for k, v in given.items()}
        return given

    @property
    def size(self) -> int:
        """How many values it takes, unless it is sampled."""
        return len(self.values or self.levels or ()) if self.range is None else self.range.size

    @model_validator(mode="after")
    def _one_source(self) -> FactorSpec:
        given = [k for k in ("values", "range", "levels", "sample") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(f"a factor has exactly one of values, range, levels, sample; found {given or 'none'}")
        if self.levels is not None and self.keys:
            raise ValueError("levels name the keys that they set; keys does not go with them")
        if self.values is not None and not self.values or self.levels is not None and not self.levels:
            raise ValueError("a factor needs at least one value")
        if self.integer and self.range is None and self.sample is None:
            raise ValueError("integer goes with range and sample")
        if self.values is not None and not all(k.plain for k in self.keys.values()):
            wrong = next((v for v in self.values if isinstance(v, bool) or not isinstance(v, int | float)), None)
            if wrong is not None:
                raise ValueError(f"times and plus need numbers, found {wrong!r}")
        return self


class SamplingSpec(Section):
    """How sampled factors are drawn together, and how often."""

    method: Literal["latin_hypercube", "sobol", "monte_carlo"] = "latin_hypercube"
    count: Annotated[int, Field(ge=1, le=1_000_000)]
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _powers_of_two(self) -> SamplingSpec:
        if self.method == "sobol" and self.count & (self.count - 1):
            low = 1 << (self.count.bit_length() - 1)
            raise ValueError(f"a Sobol sequence takes a power of two: {low} or {2 * low}, not {self.count}")
        return self


class KeepSpec(Section):
    """What is kept of each run besides its key figures: result tables by name."""

    tables: tuple[TableName, ...] = ("steps",)


class Experiment(Section):
    """An experiment: a scenario, what varies, in which modes and with how many seeds.

    ``set`` changes keys of every run. ``design`` combines factors: ``full`` takes every combination, ``paired`` the
    first values together, the second together, and so on. ``replicates`` runs each point with so many seeds spawned
    from ``seed``: the same ones at every point (``common``), or others (``independent``); without it, the scenario's
    own seed counts. ``measure`` (``package.module:function``) replaces the run by another measurement; ``analysis``
    draws figures and conclusions when all is done.
    """

    schema_version: Literal[1] = 1
    name: Name
    description: str = ""
    scenario: str
    set: dict[DottedKey, Any] = Field(default_factory=dict)
    modes: tuple[Mode, ...] = ()
    factors: dict[Name, FactorSpec] = Field(default_factory=dict)
    design: Literal["full", "paired"] = "full"
    sampling: SamplingSpec | None = None
    replicates: Annotated[int, Field(ge=1, le=MOST_RUNS)] | None = None
    seed: Annotated[int, Field(ge=0)] = 1
    seeds: Literal["common", "independent"] = "common"
    keep: KeepSpec = KeepSpec()
    measure: ImportPath | None = None
    analysis: ImportPath | None = None

    @field_validator("factors", mode="before")
    @classmethod
    def _lists(cls, given: Any) -> Any:
        """A factor that is a list is its values; one without keys sets the key of its name."""
        if not isinstance(given, dict):
            return given
        full = {k: {"values": v} if isinstance(v, list) else v for k, v in given.items()}
        own = {k for k, v in full.items() if isinstance(v, dict) and "levels" not in v and not v.get("keys")}
        return {k: {**v, "keys": k} if k in own else v for k, v in full.items()}

    @model_validator(mode="after")
    def _keys_once(self) -> Experiment:
        taken = {key: "set" for key in self.set}
        for name, factor in self.factors.items():
            levels = factor.levels or {}
            for key in sorted({*factor.keys, *(k for level in levels.values() for k in level)}):
                if key in _OWN_KEYS:
                    raise ValueError(f"factor {name!r} sets {key!r}, which belongs to {_OWN_KEYS[key]}")
                if key in taken:
                    raise ValueError(f"factor {name!r} sets {key!r}, which {taken[key]} sets as well")
                taken[key] = f"factor {name!r}"
        if self.replicates is not None and "seed" in taken:
            raise ValueError(f"replicates choose seeds, and {taken['seed']} sets the seed as well")
        if "mode" in self.set:
            raise ValueError("set names the mode, which belongs to modes")
        if len({*self.modes}) != len(self.modes):
            raise ValueError(f"a mode is named twice in {list(self.modes)}")
        return self

    @model_validator(mode="after")
    def _not_too_many(self) -> Experiment:
        sizes = [factor.size for factor in self.factors.values() if factor.sample is None]
        points = math.prod(sizes) if self.design == "full" else max(sizes, default=1)
        drawn = self.sampling.count if self.sampling is not None else 1
        runs = points * drawn * max(1, len(self.modes)) * (self.replicates or 1)
        if runs > MOST_RUNS:
            raise ValueError(f"these are {runs:.3g} runs; allowed: at most {MOST_RUNS:,}")
        return self

    @model_validator(mode="after")
    def _sampling_agrees(self) -> Experiment:
        sampled = [name for name, factor in self.factors.items() if factor.sample is not None]
        if sampled and self.sampling is None:
            raise ValueError(f"factors {sampled} are sampled, so sampling must say how often (count)")
        if self.sampling is not None and not sampled:
            raise ValueError("sampling is given, but no factor has a sample")
        return self


def shipped_experiments() -> list[str]:
    """Names of the experiments that come with the package, sorted."""
    folder = resources.files("cosim.experiments")
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def find_experiment(name: str | Path) -> Path:
    """Path of an experiment given by shipped name or by path.

    Raises:
        InputError: no such experiment; the nearest shipped name is given.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and is_file(path):
        return path.resolve()
    shipped = shipped_experiments()
    if str(name) in shipped:
        return Path(str(resources.files("cosim.experiments") / f"{name}.yaml"))
    hint = did_you_mean(name, shipped)
    raise InputError(f"no experiment file or shipped experiment of this name{hint}", key="experiment", value=str(name),
                     allowed=f"a path to a .yaml file, or one of {', '.join(shipped)}")  # fmt: skip


def load_experiment(name: str | Path, changes: Mapping[str, Any] | None = None) -> tuple[Experiment, Path]:
    """Read and check an experiment.

    Args:
        name: shipped name or path.
        changes: keys of the scenario, dotted, added to (or put over) those in ``set``.

    Raises:
        InputError: unreadable file, unknown key, wrong type or range, or keys that are set twice.
    """
    path = find_experiment(name)
    data = read_yaml(path, "an experiment")
    if changes:
        given = data.get("set")
        data["set"] = {**(given if isinstance(given, dict) else {}), **changes}
    return check_experiment(data, path), path


def check_experiment(data: Mapping[str, Any], path: Path | None = None) -> Experiment:
    """Check what an experiment file says against the schema; see :func:`load_experiment` for errors."""
    try:
        return Experiment.model_validate(dict(data))
    except ValidationError as error:
        raise explain(error, path, Experiment, data) from None
