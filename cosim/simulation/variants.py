"""What a comparison runs: modes, each as it is or with settings of its own, by name.

    decentralized, decentralized(rule=tariff), centralized(leader=each, gap=1e-2), without_data_centers

The last is no mode but the feeder as it would be without data centers, to measure what they bring whom.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from cosim.errors import InputError, did_you_mean
from cosim.scenario.modes import MODES
from cosim.scenario.schema import CentralizedSpec, DecentralizedSpec, EnvelopeSpec, Scenario, SeriesSpec
from cosim.yaml_reading import parse_yaml

SECTIONS: Mapping[str, type[BaseModel]] = {
    "decentralized": DecentralizedSpec, "centralized": CentralizedSpec, "envelope": EnvelopeSpec,
}  # fmt: skip
"""Modes with a section of their own, whose keys need no prefix."""
OPEN = ("aggregators", "centralized", "channel", "decentralized", "envelope", "market")
"""Sections that may differ between what is compared: how the market works, not what is connected and when."""
WITHOUT = "without_data_centers"
_RESERVED = "figures"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LONGEST = 80
_SETTINGS = re.compile(r"\s*([^()\s]+)\s*\((.*)\)\s*", re.DOTALL)
Given = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Variant:
    """A mode with settings.

    Attributes:
        name: label in tables and figures, and name of its folder.
        changes: dotted keys of the scenario to values.
        datacenters: whether data centers draw anything.
    """

    name: str
    mode: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    datacenters: bool = True

    def of(self, scenario: Scenario) -> Scenario:
        """A scenario, its changes made already, with data centers or with ones that do and draw nothing."""
        if self.datacenters:
            return scenario
        idle = tuple(d.model_copy(update={"it_idle_kw": 0.0, "battery": None}) for d in scenario.datacenters)
        work = scenario.workload.model_copy(update={"utilisation": SeriesSpec(constant=0.0)})
        return scenario.model_copy(update={"datacenters": idle, "workload": work})


def variants_of(modes: Sequence[str] | Mapping[str, Given], key: str = "modes") -> tuple[Variant, ...]:
    """The variants that a list of modes, or a mapping of names to modes, asks for.

    Args:
        modes: ``["welfare", "decentralized(rule=tariff)"]``, or ``{"tariff": "decentralized(rule=tariff)"}``, or
            ``{"tariff": {"mode": "decentralized", "rule": "tariff"}}``. Of a list what comes again is left out.
        key: where they are given, for messages.

    Raises:
        InputError: no mode, an unknown one, a setting that may not differ, or a name that cannot be a folder's.
    """
    if not modes or isinstance(modes, str):
        raise InputError("unknown mode", key=key, value=modes or "none", allowed=", ".join(MODES))
    found: list[Variant] = []
    if isinstance(modes, Mapping):
        for name, given in modes.items():
            if given == WITHOUT:
                found.append(_without(_checked(str(name), (v.name for v in found), f"{key}.{name}")))
                continue
            mode, changes = _given(given, f"{key}.{name}")
            found.append(Variant(_checked(str(name), (v.name for v in found), f"{key}.{name}"), mode, changes))
        return tuple(found)
    for text in dict.fromkeys(modes):
        if text == WITHOUT:
            found.append(_without(WITHOUT))
            continue
        mode, changes = _given(text, key)
        settings = [f"{k.removeprefix(f'{mode}.')}-{v}" for k, v in changes.items()]
        slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join([mode, *settings]))[:_LONGEST].strip("-.")
        found.append(Variant(_free(slug, {v.name.casefold() for v in found}), mode, changes))
    return tuple(found)


def with_baseline(variants: tuple[Variant, ...], baseline: str | None) -> tuple[Variant, ...]:
    """The variants, and the feeder without data centers if that is to be the baseline and is not among them."""
    missing = baseline == WITHOUT and WITHOUT not in (v.name for v in variants)
    return (*variants, _without(WITHOUT)) if missing else variants


def _without(name: str) -> Variant:
    return Variant(name, "uncoordinated", datacenters=False)


def split_modes(text: str) -> list[str]:
    """The parts of a list with commas; those within brackets do not count."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


def _given(given: object, key: str) -> tuple[str, dict[str, Any]]:
    """Mode and changes of a variant as it is written."""
    if isinstance(given, str):
        matched = _SETTINGS.fullmatch(given)
        mode, settings = (given.strip(), "") if matched is None else matched.groups()
        pairs = [_pair(part, given, key) for part in split_modes(settings)]
        doubled = [k for k, _ in pairs if [name for name, _ in pairs].count(k) > 1]
        if doubled:
            raise InputError("a setting that is given twice", key=key, value=doubled[0])
        data: dict[str, Any] = dict(pairs)
    elif isinstance(given, Mapping):
        data = {str(k): v for k, v in given.items()}
        mode = str(data.pop("mode", ""))
    else:
        raise InputError("a mode is a name, or a mapping with the key mode", key=key, value=given)
    if mode not in MODES:
        raise InputError(f"unknown mode{did_you_mean(mode, (*MODES, WITHOUT))}", key=key, value=mode or "none",
                         allowed=", ".join((*MODES, WITHOUT)))  # fmt: skip
    return mode, {_placed(k, mode, key): v for k, v in _flat(data)}


def _pair(text: str, given: str, key: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise InputError("a setting has the form KEY=VALUE", key=key, value=given,
                         allowed="as decentralized(rule=tariff)")  # fmt: skip
    try:
        return name.strip(), parse_yaml(value)
    except InputError as error:
        raise error.changed(key=key, value=text) from None


def _flat(data: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of nested sections; a series is a value."""
    for key, value in data.items():
        series = isinstance(value, Mapping) and any(k in value for k in ("file", "values", "constant"))
        if isinstance(value, Mapping) and value and not series and not key.endswith(".parameters"):
            yield from _flat({str(k): v for k, v in value.items()}, f"{at}{key}.")
        else:
            yield f"{at}{key}", value


def _placed(setting: str, mode: str, key: str) -> str:
    """The dotted key of a setting, which may be one of the mode's own section."""
    first = setting.partition(".")[0]
    own = sorted(SECTIONS[mode].model_fields) if mode in SECTIONS else []
    if first in own:
        return f"{mode}.{setting}"
    if first in OPEN and first != setting:
        return setting
    raise InputError(f"not a setting that may differ between modes{did_you_mean(first, [*own, *OPEN])}", key=key,
                     value=setting, allowed=", ".join([*own, *(f"{name}.KEY" for name in OPEN)]))  # fmt: skip


def _checked(name: str, others: Iterable[str], key: str) -> str:
    """A name that can be that of a folder, on any file system, beside the others."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST or name.casefold() == _RESERVED:
        raise InputError("not a name for a mode and its folder", key=key, value=name[: 2 * _LONGEST],
                         allowed=f"at most {_LONGEST} of letters, digits, _ . -; not {_RESERVED}")  # fmt: skip
    if name.casefold() in {other.casefold() for other in others}:
        raise InputError("a name that differs from another one in case alone, if at all", key=key, value=name)
    return name


def _free(slug: str, taken: set[str]) -> str:
    """The name itself, or with a number if it is taken."""
    name, number = slug, 2
    while name.casefold() in taken:
        name, number = f"{slug}-{number}", number + 1
    return name
