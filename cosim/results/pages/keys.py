"""The reference page of keys beside pages of results, and the keys of an effective scenario as links to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup, escape

from cosim.results.report import page_template

KEYS_FILE = "keys.html"
_NAMED = "NAME"
"""Stands for a name of one's own in the path of a key."""
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def _rows() -> tuple[dict[str, Any], ...]:
    """What the reference page says of each key, from ``keys.json`` beside this module."""
    return tuple(json.loads((resources.files("cosim.results.pages") / "keys.json").read_text(encoding="utf-8")))


def _anchor(file: str, path: str) -> str:
    """Name of a key's place on the page: its dotted key, without the marks of lists."""
    plain = path.replace("[]", "")
    return plain if file == "scenario" else f"{file}:{plain}"


@cache
def _known() -> dict[str, str]:
    """What is said of a key in a line, by its place on the page."""
    found = {}
    for row in _rows():
        parts = (row["what"], row["unit"] and f"unit: {row['unit']}",
                 row["default"] and f"default: {row['default'].strip('`')}",
                 row["allowed"] and f"allowed: {row['allowed']}")  # fmt: skip
        for path in row["paths"]:
            found[_anchor(row["file"], path)] = "; ".join(filter(None, parts))
    return found


@cache
def keys_page() -> str:
    """The reference page as HTML."""
    sections = []
    for (file, at), rows in groupby(_rows(), lambda row: (row["file"], row["at"])):
        keys = [{**row, "anchors": [_anchor(file, path) for path in row["paths"]]} for row in rows]
        sections.append({"file": file, "at": at, "rows": keys})
    return page_template("pages/keys.html.j2").render(sections=sections)


def write_keys(path: Path) -> None:
    """Write the reference page of keys to a path, unless it is there."""
    if not path.is_file() or path.read_text(encoding="utf-8") != keys_page():
        path.write_text(keys_page(), encoding="utf-8")


def linked(text: str, page: str = KEYS_FILE, file: str = "scenario") -> Markup:
    """A scenario or an experiment in YAML as HTML, with each of its keys a link to what the reference page says of it.

    Args:
        page: where the reference page is. file: ``scenario`` or ``experiment``.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        found = sorted(_places(root, "", file, set())) if root is not None else []
    except (yaml.YAMLError, RecursionError):
        found = []  # not as we write it: shown as the text it is
    parts, done = [], 0
    for start, end, anchor in found:
        link = Markup('<a href="{}#{}" title="{}">{}</a>').format(page, anchor, _known()[anchor], text[start:end])
        parts += [escape(text[done:start]), link]
        done = end
    return Markup("").join([*parts, escape(text[done:])])


def _places(node: yaml.Node, at: str, file: str, seen: set[int]) -> Iterator[tuple[int, int, str]]:
    """(begin, end, place on the reference page) of each key in a text that the page knows."""
    if id(node) in seen:  # an alias: its keys are linked where they are written
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _places(entry, at, file, seen)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{at}.{key.value}" if at else str(key.value)
            if _anchor(file, path) in _known():
                yield key.start_mark.index, key.end_mark.index, _anchor(file, path)
            else:
                path = f"{at}.{_NAMED}"
            yield from _places(value, path, file, seen)
