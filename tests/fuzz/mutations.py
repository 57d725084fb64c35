"""Random changes of what a user writes, in structure and in text, and what the command line must make of them."""

from __future__ import annotations

import copy
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

import cosim
from cosim.cli.main import app

MOST_BYTES, MOST_S = 2000, 10
SNIPPETS = (
    "!!int abc", "!!timestamp abc", "!!float x", "!!bool maybe", "!!binary '*'", "!!set {[a]: b}", "!!omap [a]",
    "!!python/object/apply:os.system [ls]", "&a [*a]", "*nothing", "&b {x: *b}", "? [a, b]\n: 1", "? {a: b}\n: 1",
    "2024-13-45", "2024-02-30T25:61:00", "0x", "1_000", "1:30", ".inf", "-.inf", ".nan", "1e999", "9" * 5000,
    "n" * 5000,
    "[" * 2000 + "]" * 2000, "{a: " * 300 + "1" + "}" * 300, "\t", "\0", "\x85", "\ufeff", "\u202e", "\U0001f4a5",
    "'", '"',
    "- ", ": ", "#", "<<: {a: 1}", "---\n", "...\n", "%YAML 9.9\n", "\r", "../../x", "/etc/passwd", "$\\frac{$", "~",
    "null",
    "yes", "@", "`", "|", ">",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.5, 1e-12, 1e9, 1e308, -1e308, float("inf"), float("nan"), 10**400, "",
    " ", "x", "0",
    "nan", "n" * 5000, "../../x", "/../../x", "/", "..", ".", "a\0b", "a\nb", "$\\frac{$", "\udc80", "\u202e", [],
    {}, [[]], [{}],
    [None], {"": 1}, {"a": {"b": {"c": 1}}}, ["x"], [1, 2, 3], {1: 2}, {None: None}, [1e308, -1e308],
    "builtins:dict", ".x:Y",
    "os:system", "cosim.agents.dca:KILO", {"file": "/etc/passwd", "column": "x"}, {"values": []}, {"constant": "x"},
    {"values": [float("nan")]}, {"file": "..", "column": ""}, 1000, 86_400, 2**63, 10**9, "2024-13-45",
    "2024-01-01T00:00:00+02:00",
)  # fmt: skip


class Hang(Exception):
    """More processor time than any input may take."""


def mutated(rng: random.Random, data: Any) -> Any:
    """A copy of nested data with one to three places changed."""
    data = copy.deepcopy(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(rng, data)
    return data


def mutated_text(rng: random.Random, text: str) -> str:
    """A text with one to three places changed."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        text = _text_change(rng, text)
    return text


def _text_change(rng: random.Random, text: str) -> str:
    here, there = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    lines = text.splitlines(keepends=True) or [""]
    line = rng.randrange(len(lines))
    before, after = "".join(lines[:line]), "".join(lines[line + 1 :])
    kind = rng.randrange(8)
    if kind == 0:
        return text[:here] + rng.choice(SNIPPETS) + text[here:]
    if kind == 1:
        return text[:here] + text[min(there, here + rng.choice((1, 1, 5, 200))) :]
    if kind == 2:
        return text[:here]
    if kind == 3:
        return before + lines[line] * rng.choice((2, 3, 500)) + after
    if kind == 4:
        return before + " " + lines[line] + after
    if kind == 5:
        return before + after
    if kind == 6:
        return before + _with_value(rng, lines[line]) + after
    return "".join(rng.sample(lines, len(lines)))


def _with_value(rng: random.Random, text: str) -> str:
    """What stands behind a colon or a comma of a line, replaced."""
    marks = [i for i, c in enumerate(text) if c in ":,"]
    if not marks:
        return text
    at = rng.choice(marks) + 1
    return text[:at] + " " + rng.choice(SNIPPETS) + ("\n" if rng.random() < 0.7 else text[at:])


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of nested data."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield data, key
        yield from _places(value)


def _change(rng: random.Random, data: Any) -> None:
    places = list(_places(data))
    if not places:
        return
    container, key = rng.choice(places)
    kind, value = rng.randrange(8), container[key]
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        container[rng.choice((f"{key}x", str(key)[:-1], 7, None, True, "n" * 5000, ""))] = container.pop(key)
    elif kind == 2:
        other, place = rng.choice(places)
        container[key] = copy.deepcopy(other[place]) if place in other or isinstance(other, list) else None
    elif kind == 3 and isinstance(value, int | float) and not isinstance(value, bool):
        container[key] = value * rng.choice((-1, 0, 1e-9, 1e-3, 0.5, 2, 10, 1e3, 1e9, 1e18))
    elif kind == 4:
        container[key] = rng.choice(([value], {"value": value}, str(value), [value, value], {str(value): value}))
    elif kind == 5 and isinstance(container, list):
        container.append(copy.deepcopy(value))
    else:
        container[key] = copy.deepcopy(rng.choice(VALUES))


def as_yaml(data: Any) -> str:
    """Nested data as YAML, whatever is in it."""
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110))


@contextmanager
def sandbox(folder: Path) -> Iterator[Path]:
    """A working directory some levels deep; nothing may appear above it meanwhile."""
    place = folder / "a" / "b" / "here"
    place.mkdir(parents=True)
    before = _outside(folder, place)
    was = Path.cwd()
    os.chdir(place)
    try:
        yield place
    finally:
        os.chdir(was)
    assert _outside(folder, place) == before, "something was written outside of the working directory"


def _outside(folder: Path, place: Path) -> set[Path]:
    return {p for p in folder.rglob("*") if place not in (p, *p.parents)}


def told(arguments: list[str]) -> tuple[int, str]:
    """Exit code and output of the command line, which must end soon and say little, without a traceback.

    Raises:
        AssertionError: it does not.
    """
    with _processor_time(MOST_S):
        done = CliRunner().invoke(app, arguments, env={"TERM": "dumb", "COLUMNS": "200"})
    trace = done.exception if not isinstance(done.exception, SystemExit) else None
    if trace is not None:
        raise AssertionError(f"{type(trace).__name__} for {arguments}") from trace
    assert done.exit_code in (0, 1, 2), f"exit code {done.exit_code} for {arguments}"
    assert len(done.stderr.encode("utf-8", "surrogatepass")) <= MOST_BYTES, done.stderr[:300]
    if done.exit_code:
        assert done.stderr.startswith("Error: ") and "Traceback" not in done.stderr, done.stderr
    return done.exit_code, done.stderr


def run_agrees(scenario: str, out: str, drawn: bool, **overrides: Any) -> None:
    """Run a scenario that ``validate`` takes: the run may fail, but not find fault with its input.

    Args:
        drawn: whether by the command line, with figures and report in ``out``; otherwise in memory.

    Raises:
        AssertionError: it does.
    """
    if drawn:
        changes = [text for key, value in overrides.items() for text in ("--set", f"{key}={value}")]
        code, text = told(["run", scenario, "--out", out, *changes])
        assert code != 2, f"run refuses what validate takes: {text}"
        return
    with _processor_time(MOST_S):
        try:
            cosim.run(scenario, overrides=overrides)
        except cosim.RunFailure as error:
            assert len(str(error).encode()) <= MOST_BYTES


@contextmanager
def _processor_time(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise Hang(f"more than {seconds} s")

    earlier = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, earlier)
