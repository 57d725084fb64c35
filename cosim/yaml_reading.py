"""YAML that a user writes: read within limits, without keys that are written twice, dates as the text they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cosim.errors import InputError
from cosim.files import read_text

MOST_BYTES = 4_000_000
MOST_NODES = 200_000
"""Keys and values of a document, those behind aliases counted where they are used."""
MOST_LEVELS = 40
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_Base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc, valid-type]
    """Safe YAML in which a value that is none of its kind is an error at its line, whatever Python makes of it."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
            kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
            raise yaml.MarkedYAMLError(None, None, f"no {kind}: {error}", node.start_mark) from None


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, list | dict | set):
            raise yaml.MarkedYAMLError(None, None, "a key is a list or a mapping", key_node.start_mark)
        if key in result:
            raise yaml.MarkedYAMLError(None, None, f"the key {key!r} is written twice", key_node.start_mark)
        result[key] = loader.construct_object(value_node, deep=True)
    return result


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path, what: str = "a scenario") -> dict[str, Any]:
    """The mapping in a YAML file in which no key may be written twice.

    Raises:
        InputError: not readable, too large, or no mapping.
    """
    try:
        data = parse_yaml(read_text(path, MOST_BYTES))
    except InputError as error:
        raise InputError(error.message, file=path, allowed=error.allowed) from None
    if not isinstance(data, dict):
        raise InputError(f"{what} is a mapping of keys to values", file=path, value=data)
    return data


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        InputError: no YAML, or more than is reasonable: nothing is built before the limits have been checked.
    """
    try:
        _check_size(text)
        return _apart(yaml.load(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise InputError(f"not readable as YAML: {' '.join(str(error).split())}") from None


def _apart(value: Any) -> Any:
    """The value with a copy of its own wherever an alias stands, so that changing one place changes no other."""
    if isinstance(value, dict):
        return {key: _apart(v) for key, v in value.items()}
    return [_apart(v) for v in value] if isinstance(value, list) else value


def _check_size(text: str) -> None:
    """Depth and number of nodes from the parser's events alone, each alias as large as what it stands for."""
    anchors: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = []  # anchor and nodes before it of every collection that is open
    nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor is not None:
                anchors[event.anchor] = 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise InputError(f"not readable as YAML: the alias *{event.anchor} stands for nothing, or for itself")
            nodes += anchors[event.anchor]
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor is not None:
                anchors[anchor] = nodes - before
        if len(open_) > MOST_LEVELS:
            raise InputError("not readable as YAML: nested too deeply", allowed=f"at most {MOST_LEVELS} levels")
        if nodes > MOST_NODES:
            raise InputError("too many keys and values", allowed=f"at most {MOST_NODES:,}, aliases counted in full")
