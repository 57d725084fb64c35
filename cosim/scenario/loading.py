"""Scenario files: found by name or path, merged with their base, checked, and reported on when wrong."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cosim.errors import InputError, did_you_mean
from cosim.files import is_file
from cosim.scenario.schema import Scenario
from cosim.yaml_reading import read_yaml

Model = TypeVar("Model", bound=BaseModel)
_MAX_BASES = 10
_MOST_FINDINGS = 12
"""Most findings of one file that are told."""


def shipped_scenarios() -> list[str]:
    """Names of the scenarios that come with the package, sorted."""
    folder = resources.files("cosim.scenarios")
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def find_scenario(name: str | Path, beside: Path | None = None, key: str = "base") -> Path:
    """Path of a scenario given by shipped name or by path.

    Args:
        beside: a file that names it; relative paths start from that file's folder as well.
        key: the key of that file under which the name stands.

    Raises:
        InputError: no such scenario; the nearest shipped name is given.
    """
    path = Path(name)
    candidates = [path] if beside is None else [beside.parent / path, path]
    for candidate in candidates:
        if candidate.suffix in (".yaml", ".yml") and is_file(candidate):
            return candidate.resolve()
    shipped = shipped_scenarios()
    if str(name) in shipped:
        return Path(str(resources.files("cosim.scenarios") / f"{name}.yaml"))
    raise InputError(
        f"no scenario file or shipped scenario of this name{did_you_mean(name, shipped)}",
        file=beside,
        key="scenario" if beside is None else key,
        value=str(name),
        allowed=f"a path to a .yaml file, or one of {', '.join(shipped)}",
    )


def load_scenario(name: str | Path, overrides: Mapping[str, Any] | None = None) -> tuple[Scenario, Path]:
    """Read, merge and check a scenario.

    Args:
        name: shipped name or path.
        overrides: see :func:`apply_changes`.

    Returns:
        The scenario and the path of its file.

    Raises:
        InputError: unreadable file, unknown key, wrong type or range, or names that do not agree.
    """
    path = find_scenario(name)
    data = scenario_data(path)
    apply_changes(data, overrides or {}, path)
    return check_scenario(data, path), path


def apply_changes(data: dict[str, Any], changes: Mapping[str, Any], path: Path) -> None:
    """Change scenario data as a file would that has them as its base and says the same.

    Args:
        changes: dotted keys to values, as ``network.v_min_pu: 0.94`` or ``datacenters.dc718.pue: 1.2``: mappings and
            lists of named entries merge with what is there, an empty one empties it, anything else is replaced;
            ``remove``: keys to take out first. They stay as they are.

    Raises:
        InputError: a key below a plain value, an entry that is not in its list, or nothing to remove.
    """
    remove(data, changes.get("remove", []), path)
    for key, value in changes.items():
        if key != "remove":
            set_dotted(data, key, deepcopy(value), path)  # a later key may go below it


def scenario_data(path: Path) -> dict[str, Any]:
    """What a scenario file says, its bases merged into it, not yet checked; see :func:`load_scenario` for errors."""
    return _merged(path, ())


def files_read(path: Path) -> list[Path]:
    """A scenario file and its bases, in order; see :func:`load_scenario` for errors."""
    found = [path]
    while isinstance(base := read_yaml(found[-1]).get("base"), str) and len(found) <= _MAX_BASES:
        found.append(find_scenario(base, beside=found[-1]))
    return found


def check_scenario(data: Mapping[str, Any], path: Path | None = None) -> Scenario:
    """Check merged scenario data against the schema; see :func:`load_scenario` for errors."""
    try:
        return Scenario.model_validate(dict(data))
    except ValidationError as error:
        raise explain(error, path, data=data) from None


def merged_lists(path: Path) -> list[str]:
    """What a scenario's lists of named entries take over from its base, change and add: one line each."""
    told: list[str] = []
    _merged(path, (), told)
    return told


def _merged(path: Path, seen: tuple[Path, ...], told: list[str] | None = None) -> dict[str, Any]:
    if path in seen or len(seen) >= _MAX_BASES:
        chain = " -> ".join(p.name for p in (*seen, path))
        raise InputError(f"the chain of bases runs in a circle: {chain}", file=path, key="base")
    data = read_yaml(path)
    base, gone = data.pop("base", None), data.pop("remove", [])
    if base is None:
        if gone:
            raise InputError("there is nothing to remove without a base", file=path, key="remove", value=gone)
        return data
    if not isinstance(base, str):
        raise InputError("a base is the name or path of a scenario", file=path, key="base", value=base)
    inherited = _merged(find_scenario(base, beside=path), (*seen, path), told)
    remove(inherited, gone, path)
    return _merge(inherited, data, told)


def remove(data: dict[str, Any], keys: Any, path: Path) -> None:
    """Take entries out of scenario data, by their dotted keys.

    Raises:
        InputError: not a list of keys, or a key that is not there.
    """
    if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
        raise InputError("what is removed is a list of dotted keys", file=path, key="remove", value=keys,
                         allowed="remove: [generators.dg720, network.taps]")  # fmt: skip
    for key in keys:
        *parents, last = key.split(".")
        place: Any = data
        for part in parents:
            place = _below(place, part, key, path)
        _below(place, last, key, path)
        del place[_position(place, last, key, path) if isinstance(place, list) else last]


def _below(place: Any, part: str, key: str, path: Path) -> Any:
    """What stands at a part of a dotted key that is to be removed."""
    if isinstance(place, list):
        return place[_position(place, part, key, path)]
    known = [k for k in place if isinstance(k, str)] if isinstance(place, dict) else []
    if part not in known:
        raise InputError(f"there is nothing of this name to remove{did_you_mean(part, known)}", file=path, key="remove",
                         value=key, allowed=", ".join(known) or "a key of the base")  # fmt: skip
    return place[part]


def _merge(
    base: dict[str, Any], change: Mapping[str, Any], told: list[str] | None = None, at: str = ""
) -> dict[str, Any]:
    """The keys of a base and those of a change, each merged as :func:`_merged_value` has it; ``at`` ends with a dot."""
    return {**base, **{key: _merged_value(base.get(key), value, told, f"{at}{key}") for key, value in change.items()}}


def _merged_value(old: Any, new: Any, told: list[str] | None = None, at: str = "") -> Any:
    """The one rule of merging, of files with their bases, of ``--set`` and of factors.

    Mappings merge; lists of named entries merge by name; an empty one empties what is there; a series and anything else
    is replaced.

    Args:
        told: to which what lists merged is added, one line a list.
        at: dotted key of the values.
    """
    if isinstance(old, dict) and isinstance(new, dict) and new and not _is_series(new):
        return _merge(old, new, told, f"{at}.")
    if _named_list(old) and _named_list(new):
        if told is not None:
            told.append(f"{at}: {_told_of(old, new)}")
        return _merge_named(old, new)
    return new


def _told_of(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> str:
    """Names that a merged list takes over, changes and adds."""
    before, after = [e["name"] for e in old], [e["name"] for e in new]
    parts = {
        "as in the base": [n for n in before if n not in after],
        "changed": [n for n in before if n in after],
        "added": [n for n in after if n not in before],
    }
    return "; ".join(f"{', '.join(names)} {what}" for what, names in parts.items() if names)


def _is_series(value: Mapping[str, Any]) -> bool:
    return any(k in value for k in ("file", "values", "constant"))


def _named_list(value: object) -> bool:
    """Whether a value is a list of entries that bear a name each; what else is there as a name, the schema refuses."""
    if not isinstance(value, list) or not value:
        return False
    names = [v.get("name") if isinstance(v, dict) else None for v in value]
    return all(isinstance(n, str) for n in names) and len(set(names)) == len(names)


def _merge_named(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    changes = {entry["name"]: entry for entry in new}
    kept = [_merge(entry, changes.pop(entry["name"], {})) for entry in old]
    return kept + list(changes.values())


def set_dotted(data: dict[str, Any], key: str, value: Any, path: Path) -> None:
    """Set one dotted key of scenario data, merged with what is there; entries of lists go by position or by name.

    Raises:
        InputError: no such entry in a list, or a key below a plain value.
    """
    *parents, last = key.split(".")
    place: Any = data
    for part in parents:
        if isinstance(place, list):
            place = place[_position(place, part, key, path)]
        elif isinstance(place, dict):
            place = place.setdefault(part, {})
        else:
            raise InputError("this key goes below a plain value", key=key, value=place, file=path)
    if isinstance(place, list):
        at = _position(place, last, key, path)
        place[at] = _merged_value(place[at], value)
    elif isinstance(place, dict):
        place[last] = _merged_value(place.get(last), value)
    else:
        raise InputError("this key goes below a plain value", key=key, value=place, file=path)


def _position(entries: list[Any], part: str, key: str, path: Path) -> int:
    names = [e.get("name") if isinstance(e, dict) else None for e in entries]
    if part in names:
        return names.index(part)
    if part.isdecimal() and len(part) < 10 and int(part) < len(entries):
        return int(part)
    allowed = f"{', '.join(str(n) for n in names if n)} or 0 to {len(entries) - 1}"
    raise InputError("no such entry in this list", key=key, value=part, allowed=allowed, file=path)


def validated(model: type[Model], data: Mapping[str, Any], key: str) -> Model:
    """Data checked by the schema of a section that only its user knows.

    Raises:
        InputError: whatever the schema refuses, with its dotted key below ``key``.
    """
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        told = explain(error, None, model, data)
        raise told.placed(lambda below: key if below is None else f"{key}.{below}") from None


def explain(
    error: ValidationError,
    path: Path | None,
    schema: type[BaseModel] = Scenario,
    data: Mapping[str, Any] | None = None,
) -> InputError:
    """What a schema found as one clear error: an unknown key first, then the rest as its ``others``.

    Args:
        data: what was checked; entries of lists that bear a name there are called by it.
    """
    findings = sorted(error.errors(), key=lambda f: f["type"] != "extra_forbidden")
    told = [_finding(f, path, schema, data) for f in findings[:_MOST_FINDINGS]]
    distinct = list({(one.key, one.message): one for one in told}.values())
    return distinct[0].changed(others=distinct[1:])


def _finding(
    found: Mapping[str, Any], path: Path | None, schema: type[BaseModel], data: Mapping[str, Any] | None
) -> InputError:
    """One finding of a schema."""
    location = found["loc"]
    key = ".".join(_called(location, data))
    if found["type"] == "extra_forbidden":
        known = _known_keys(location[:-1], schema)
        hint = did_you_mean(location[-1], known, cutoff=0.5)
        return InputError(f"unknown key{hint}", file=path, key=key, allowed=", ".join(known))
    message = found["msg"].removeprefix("Value error, ")
    value = None if found["type"] == "missing" or not location else found["input"]
    if isinstance(value, dict | list | tuple):
        value = None
    unit = unit_of(str(location[-1])) if location else None
    allowed = f"a number in {unit}" if unit and "valid number" in message else None
    return InputError(message[0].lower() + message[1:], file=path, key=key or None, value=value, allowed=allowed)


def _called(location: Sequence[int | str], data: object) -> list[str]:
    """The parts of a place in a file; entries of lists by their name, where no other has it."""
    parts = []
    for part in location:
        called = str(part)
        if isinstance(data, list | tuple) and isinstance(part, int) and part < len(data):
            names = [entry.get("name") if isinstance(entry, dict) else None for entry in data]
            name = names[part]
            if isinstance(name, str) and names.count(name) == 1:
                called = name
            data = data[part]
        elif isinstance(data, Mapping):
            data = data.get(part)
        parts.append(called)
    return parts


_UNITS = (
    ("_usd_per_mwh_per_mw", "USD/MWh per MW"), ("_usd_per_mwh_h", "USD per MWh and hour"),
    ("_usd_per_mw2h", "USD/(MW^2 h)"),
    ("_usd_per_mvar2h", "USD/(Mvar^2 h)"), ("_usd_per_mvarh", "USD/Mvarh"), ("_usd_per_mwh", "USD/MWh"),
    ("_kwh", "kWh"),
    ("_kva", "kVA"), ("_kw", "kW"), ("kvar", "kvar"), ("_pu", "per unit"), ("_s", "seconds"),
)  # fmt: skip


def unit_of(key: str) -> str | None:
    """The unit that a key's name says; None for what has none."""
    return next((unit for suffix, unit in _UNITS if key.endswith(suffix)), None)


def _known_keys(location: tuple[int | str, ...], schema: type[BaseModel]) -> list[str]:
    """Keys that a schema knows at a place, found by walking the annotations."""
    model, name_follows = schema, False
    for part in location:
        if isinstance(part, int) or name_follows:
            name_follows = False
            continue
        field = model.model_fields.get(part)
        found = None if field is None else section_in(field.annotation)
        if field is None or found is None:
            break
        model, name_follows = found, typing.get_origin(field.annotation) is dict
    return sorted(model.model_fields)


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds, alone, in a list or by name; None if it holds none."""
    if typing.get_origin(annotation) is None and inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        found = section_in(argument)
        if found is not None:
            return found
    return None
