"""The keys of scenario and experiment files: what each means, its type, unit, default and what is allowed.

What the schema says of a key is read off it; ``keys.csv`` beside this module adds a description and an example.

    python -m cosim.cli.keys > docs/keys.md                                # the reference page
    python -m cosim.cli.keys --json > cosim/results/pages/keys.json        # what pages of results say of keys
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from pydantic import BaseModel

from cosim.errors import InputError, did_you_mean
from cosim.scenario.loading import section_in, unit_of

SCHEMA_URL = "https://json-schema.org/draft/2020-12/schema"
_RANGES = {
    "minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most", "exclusiveMaximum": "less than",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a file.

    Attributes:
        section: name of the class of its section.
        path: the dotted key; ``[]`` stands for an entry of a list, ``NAME`` for a name of one's own.
        kind: its type in words.
        unit: None for what has none.
        default: as JSON; None where the key must be given.
        allowed: values or range, in words; empty where the type says it all.
    """

    section: str
    path: str
    kind: str
    unit: str | None
    default: str | None
    allowed: str
    what: str
    example: str


@cache
def descriptions() -> dict[tuple[str, str], tuple[str, str]]:
    """Description and example of each key, by the name of its section's class and its own."""
    text = (resources.files("cosim.scenario") / "keys.csv").read_text(encoding="utf-8")
    return {(r["section"], r["key"]): (r["what"], r["example"]) for r in csv.DictReader(text.splitlines())}


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema of a file, with descriptions, for editors."""
    found: dict[str, Any] = model.model_json_schema(mode="validation")
    for name, section in {model.__name__: found, **found.get("$defs", {})}.items():
        if "description" in section:
            section["description"] = " ".join(section["description"].split())
        for key, field in section.get("properties", {}).items():
            if (name, key) in descriptions():
                what, _ = descriptions()[name, key]
                unit = unit_of(key)
                field["description"] = f"{what} [{unit}]" if unit else what
    if "factors" in found["properties"]:  # of an experiment: short forms that the schema turns into whole ones
        _widen(_entries(found["properties"]["factors"]), {"type": "array"})
        keys = found["$defs"]["FactorSpec"]["properties"]["keys"]
        _widen(_entries(keys), {"type": "number"})
        _widen(keys, {"type": "string"}, {"type": "array", "items": {"type": "string"}})
    if model.__name__ == "Scenario":
        found["properties"] |= {
            "base": {"type": "string", "description": "scenario that this one takes over, by name or path"},
            "remove": {"type": "array", "items": {"type": "string"},
                       "description": "dotted keys of the base to leave out"},
        }  # fmt: skip
        for section in (found, *found["$defs"].values()):
            section.pop("required", None)  # a base may have it
        found["required"] = ["name"]
    return {"$schema": SCHEMA_URL, **found}


def _entries(said: dict[str, Any]) -> dict[str, Any]:
    """What the entries of a mapping are."""
    forms: list[dict[str, Any]] = [*said.get("patternProperties", {}).values(), said.get("additionalProperties", {})]
    return forms[0]


def _widen(said: dict[str, Any], *forms: dict[str, Any]) -> None:
    """Let a value take further forms."""
    whole = {k: said.pop(k) for k in list(said) if k not in ("description", "title", "default")}
    said["anyOf"] = [whole, *forms]


def keys_of(model: type[BaseModel]) -> list[Key]:
    """All keys of a file, those of sections below them, in the order of the schema."""
    return list(_keys(model, "", ()))


def _keys(model: type[BaseModel], at: str, above: tuple[type[BaseModel], ...]) -> Iterator[Key]:
    schema = model.model_json_schema(mode="validation")
    for name, field in model.model_fields.items():
        what, example = descriptions().get((model.__name__, name), ("", ""))
        said = schema["properties"].get(name, {})
        inner = section_in(field.annotation)
        entry = _entry(field.annotation) if inner is not None else ""
        default = None
        if not field.is_required():
            value = field.get_default(call_default_factory=True)
            default = "" if inner is not None and value else json.dumps(value, default=_plain)
        kind, allowed = _kind(said, schema, entry), _allowed(said)
        yield Key(model.__name__, f"{at}{name}", kind, unit_of(name), default, allowed, what, example)
        if inner is not None and inner not in above:
            yield from _keys(inner, f"{at}{name}{entry}.", (*above, model))


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else list(value)


def _entry(annotation: Any) -> str:
    """How an entry of what holds sections is addressed: by name in a list or a mapping, or not at all."""
    text = str(annotation)
    return "[]" if "tuple[" in text else ".NAME" if "dict[" in text else ""


def _kind(said: dict[str, Any], schema: dict[str, Any], entry: str) -> str:
    """The type of a value in words."""
    if "$ref" in said:
        ref = schema.get("$defs", {}).get(said["$ref"].rpartition("/")[2], {})
        return "section" if ref.get("type") == "object" else _kind(ref, schema, entry)
    for several in ("anyOf", "oneOf"):
        if several in said:
            kinds = [_kind(one, schema, entry) for one in said[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "allOf" in said:
        return _kind(said["allOf"][0], schema, entry)
    if "enum" in said or "const" in said:
        return "choice"
    kind = said.get("type", "any")
    words = {"number": "number", "integer": "whole number", "string": "text", "boolean": "true or false"}
    if kind == "array":
        return "list of sections" if entry else "list"
    if kind == "object":
        return "sections by name" if entry else "mapping"
    return words.get(kind, str(kind))


def _allowed(said: dict[str, Any]) -> str:
    parts = [one for one in said.get("anyOf", [said]) if one.get("type") != "null"]
    found = []
    for one in parts:
        if "const" in one:
            found.append(str(one["const"]))
        elif "enum" in one:
            found.append(", ".join(map(str, one["enum"])))
        else:
            ranges = [f"{words} {one[k]:g}" for k, words in _RANGES.items() if k in one and abs(one[k]) < 1e12]
            if ranges:
                found.append(" and ".join(ranges))
    return "; ".join(found)


def explained(models: dict[str, type[BaseModel]], key: str) -> list[tuple[str, Key]]:
    """The keys that a name, a dotted key or its end means, each with the file that it stands in.

    Raises:
        InputError: no such key; the nearest is given.
    """
    wanted = key.replace("[]", "")
    found, known = [], []
    for file, model in models.items():
        for one in keys_of(model):
            plain = one.path.replace("[]", "")
            known.append(plain)
            if plain == wanted or plain.endswith(f".{wanted}"):
                found.append((file, one))
    exact = [(file, one) for file, one in found if one.path.replace("[]", "") == wanted]
    if not found:
        ends = {k.rpartition(".")[2] for k in known}
        hint = did_you_mean(wanted, known) or did_you_mean(wanted.rpartition(".")[2], ends)
        raise InputError(f"no such key{hint}", key="KEY", value=key, allowed="a key, as network.v_min_pu or v_min_pu")
    return exact or found


def page(models: dict[str, type[BaseModel]]) -> str:
    """The reference page of all keys as Markdown; a section that comes again is shown once, at its shortest key."""
    lines = [
        "# Every key",
        "",
        "`[]` is an entry of a list, addressed by its name (`datacenters.dc718.pue`); `NAME` a name of one's own. A",
        "section that comes again is shown once. `cosim explain KEY` says the same in the terminal, `cosim schema",
        "scenario` writes it as JSON Schema for editors. The scenario on a [page of results](pages.md) links each key",
        "to what is said here. This page is made from the schema.",
    ]
    for file, model in models.items():
        lines += ["", f"## {file.capitalize()} files"]
        keys = keys_of(model)
        shown = _shown(keys)
        for section, at in shown.items():
            lines += ["", f"### {f'`{at}`' if at else 'Top level'}", "",
                      "| key | type | unit | default | allowed | what it is | example |",
                      "|---|---|---|---|---|---|---|"]  # fmt: skip
            lines += [_row(k, keys, shown) for k in keys if (k.section, k.path.rpartition(".")[0]) == (section, at)]
    return "\n".join(lines) + "\n"


def reference(models: dict[str, type[BaseModel]]) -> list[dict[str, Any]]:
    """The rows of the reference page as data, for pages of results.

    ``at`` is the key of the section, ``paths`` are all that a key stands at.
    """
    found: list[dict[str, Any]] = []
    for file, model in models.items():
        keys = keys_of(model)
        shown = _shown(keys)
        paths: dict[tuple[str, str], list[str]] = {}
        for key in keys:
            paths.setdefault((key.section, key.path.rpartition(".")[2]), []).append(key.path)
        for section, at in shown.items():
            for key in (k for k in keys if (k.section, k.path.rpartition(".")[0]) == (section, at)):
                name = key.path.rpartition(".")[2]
                found.append({
                    "file": file, "at": at, "name": name, "paths": paths[section, name],
                    "kind": _kind_at(key, keys, shown), "unit": key.unit or "", "default": _default(key),
                    "allowed": key.allowed, "what": key.what, "example": key.example,
                })  # fmt: skip
    return found


def _shown(keys: list[Key]) -> dict[str, str]:
    """Where each section is shown: at its shortest key, the first of these."""
    shown = dict[str, str]()
    for key in sorted(keys, key=lambda k: k.path.count(".")):  # a stable order
        shown.setdefault(key.section, key.path.rpartition(".")[0])
    return shown


def _kind_at(key: Key, keys: list[Key], shown: dict[str, str]) -> str:
    """The type of a key, and where its section is shown."""
    below = next((k.section for k in keys if k.path.rpartition(".")[0].startswith(key.path)), None)
    return f"{key.kind}: `{shown[below]}`" if below is not None and "section" in key.kind else key.kind


def _default(key: Key) -> str:
    return "required" if key.default is None else "" if key.default in ("null", "") else f"`{key.default}`"


def _row(key: Key, keys: list[Key], shown: dict[str, str]) -> str:
    """A key as a row of a table."""
    example = f"`{key.example}`" if key.example else ""
    cells = (f"`{key.path.rpartition('.')[2]}`", _kind_at(key, keys, shown), key.unit or "", _default(key), key.allowed,
             key.what, example)  # fmt: skip
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
