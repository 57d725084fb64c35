"""Pages of what is under way: how far it is, rounds and prices of a run, runs of a sweep; and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import numpy as np

from cosim.results.folders import PAGE_FILE
from cosim.results.pages.charts import Chart, Choice, Trace
from cosim.results.pages.page import Cell, Page, Section, Table
from cosim.results.record import RECORD_FILE
from cosim.results.underway.reading import Following, underway_in
from cosim.sweep.storage.following import SweepState
from cosim.view.catalogue import utc
from cosim.view.inside import linked

_MOST_ROWS = 200
_MOST_POINTS = 2_000
_KILLED = "Its process is gone: it was killed, or the machine stopped, before it had ended. What it had written is not"


def run_under_way(found: Following, address: str, script: str) -> Page:
    """The page of a run, a comparison or a study that is under way or was killed.

    Args:
        address: of its folder. script: address of the script that keeps the page fresh.
    """
    inner = _inner(found) if found.kind == "comparison" else []
    page = Page(
        title=f"{found.head.get('name', '')}: {_what(found)}",
        lead=f"{found.kind} in {address}, started {utc(str(found.head.get('started', '')))} UTC",
        headline=_headline(found),
        told=[_state(found)],
        follows=script if found.alive is not False else "",
    )
    if found.kind == "comparison":
        page.sections.append(Section("Modes", tables=[_modes(found, inner)]))
    for run in inner or [found]:
        page.sections += _sections(run, f", {_what(run)}" if inner else "")
    return page


def ended(address: str, there: bool, to_root: str) -> Page:
    """The page of what was under way and is not any more.

    Args:
        there: whether results are in its folder. to_root: the way from the page to that of all results.
    """
    links = [("All results", to_root)]
    if there:
        links.append(("Page of the results", f"{to_root}at/{linked(address)}/{PAGE_FILE}"))
    told = "It has ended; its results are there." if there else (
        "It has ended and left no results: it was interrupted, or its input was refused. Or there never was anything."
    )  # fmt: skip
    return Page(title=address or "results", lead="", links=links, told=[told])


def sweep_under_way(state: SweepState, address: str, script: str) -> Page:
    """The page of how far a sweep is."""
    left = state.total - state.done
    told = {
        True: f"At work: {state.done} of {state.total} runs are done.",
        False: f"Not at work. {state.done} of {state.total} runs are done"
        + (f"; cosim sweep ... --resume does the other {left}." if left else "."),
        None: f"{state.done} of {state.total} runs are done.",
    }[state.alive]
    done_at = _done_at(state.log)
    headline = [("runs", state.total), ("done", state.done), ("failed", state.failed), ("being run", len(state.begun))]
    return Page(
        title=state.name.replace("_", " "),
        lead=f"sweep in {address or 'this folder'}, last started {utc(state.started)} UTC",
        headline=[{"label": name, "value": f"{value:,}"} for name, value in headline],
        told=[told],
        follows=script if state.alive is not False else "",
        sections=[
            Section("Pace", [_steps_chart("Runs that have ended", "Of the last lines of the log.", "s", "runs", done_at,
                                          "runs", np.arange(1.0, len(done_at) + 1))] if done_at else ()),
            Section("Being run" if state.alive else "Begun and not ended", tables=[_table(
                "Runs", ("run", "what varies", "attempt", "what it does"),
                [(key, _varied(state, key), str(n), doing) for key, (n, doing) in sorted(state.begun.items())])]),
            Section("Runs that failed", tables=[_table(
                "Reasons", ("run", "what varies", "why"),
                [(key, _varied(state, key), why) for key, why in sorted(state.reasons.items())])]),
            Section("Log", tables=[_table("Last lines", ("line",), [(line,) for line in reversed(state.log)])]),
        ],
    )  # fmt: skip


def _inner(found: Following) -> list[Following]:
    """The runs of a comparison that are under way."""
    with suppress(OSError):
        return underway_in(found.part)
    return []


def _what(found: Following) -> str:
    modes = found.head.get("modes")
    return f"{len(modes)} modes" if isinstance(modes, list) else str(found.head.get("mode") or found.kind)


def _state(found: Following) -> str:
    if found.alive is False:
        return f"{_KILLED} shown; the same command does it anew and clears up. The last that it told: {found.doing}."
    if found.alive is None:
        return f"Under way, as far as can be told on this system: {found.doing}."
    return f"Under way: {found.doing}."


def _headline(found: Following) -> list[dict[str, str]]:
    done, total, seconds = found.now("done"), found.now("total"), found.now("s")
    items = []
    if done is not None and total:
        items.append(("done", f"{100 * done / total:.0f} %"))
        items.append(("steps" if found.kind == "run" else "of the work", f"{done:,.0f} of {total:,.0f}"))
    if seconds is not None:
        items.append(("so far", _duration(seconds)))
    for name, label, form in (("round", "round", ",.0f"), ("cost_usd", "social cost so far", ",.2f")):
        value = found.now(name)
        if value is not None:
            items.append((label, format(value, form) + (" USD" if name == "cost_usd" else "")))
    low, mean, high = (found.now(name) for name in ("low", "mean", "high"))
    if low is not None and mean is not None and high is not None:
        items.append(("last prices, lowest, mean, highest", f"{low:,.2f}, {mean:,.2f}, {high:,.2f} USD/MWh"))
    return [{"label": label, "value": value} for label, value in items]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _sections(run: Following, suffix: str) -> list[Section]:
    """Charts of a run: how far it was, its negotiation, its prices."""
    charts = []
    seconds, done = _series(run, "s", "done")
    if len(done) > 1:
        charts.append(_steps_chart("Done", "What was done after so many seconds.", "s", "steps", seconds.tolist(),
                                   "steps", done))  # fmt: skip
    at = [_series(run, "s", name) for name in ("low", "mean", "high")]
    if len(at[0][0]) > 1:
        traces = [Trace(label, x.tolist(), y) for label, (x, y) in zip(("lowest", "mean", "highest"), at, strict=True)]
        caption = "Over the feeder in the last step that was settled, or at the sites as posted in a negotiation."
        charts.append(Chart("Last prices", caption, "USD/MWh", [Choice("", traces)], "s"))
    rounds = [line for line in run.lines if isinstance(line.get("round"), int)]
    numbers = [int(line["round"]) for line in rounds]
    first = max((i for i in range(1, len(numbers)) if numbers[i] < numbers[i - 1]), default=0)
    present = rounds[first:][-_MOST_POINTS:]
    if present:
        traces = []
        for name, label in (("price_residual", "price, USD/MWh"), ("power_residual_kw", "power, kW")):
            values = np.array([float(line.get(name, np.nan)) for line in present])
            traces.append(Trace(label, [line["round"] for line in present], np.where(values > 0, values, np.nan)))
        charts.append(Chart("How far from agreement", "Residuals of the last negotiation; not every round is kept.",
                            "residual", [Choice("", traces)], "round", log=True, shape="linear"))  # fmt: skip
    return [Section(f"So far{suffix}", charts)]


def _series(run: Following, *names: str) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers of each line that has both."""
    rows = [[float(line[n]) for n in names] for line in run.lines[-_MOST_POINTS:]
            if all(isinstance(line.get(n), int | float) for n in names)]  # fmt: skip
    found = np.array(rows).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _steps_chart(
    title: str, caption: str, x: str, y: str, at: Sequence[float], name: str, values: np.ndarray
) -> Chart:
    return Chart(title, caption, y, [Choice("", [Trace(name, list(at), values)])], x)


def _modes(found: Following, inner: Sequence[Following]) -> Table:
    """The modes of a comparison, and how each stands."""
    at = {run.place.name: run for run in inner}
    rows = []
    for mode in map(str, found.head.get("modes") or ()):
        if mode in at:
            how = "killed" if at[mode].alive is False else f"under way: {at[mode].doing}"
        else:
            how = "has ended" if "/" not in mode and (found.part / mode / RECORD_FILE).is_file() else "to come"
        rows.append((mode, how))
    return _table("How each stands", ("mode", "how it stands"), rows)


def _varied(state: SweepState, key: str) -> str:
    run = state.planned.get(key, {})
    factors = run.get("factors")
    varied = [f"{k} = {v}" for k, v in factors.items()] if isinstance(factors, dict) else []
    return ", ".join([str(run.get("mode", "")), *varied])


def _done_at(log: Sequence[str]) -> list[float]:
    """Seconds after the first of the log's lines at which runs ended."""
    found = []
    for line in log:
        parts = line.split(" ")
        with suppress(ValueError):
            when = datetime.fromisoformat(parts[0]).astimezone(UTC).timestamp()
            if len(parts) > 3 and parts[1] == "run" and parts[3].rstrip(",") in ("ok", "failed"):
                found.append(when)
    return [round(when - found[0], 3) for when in found]


def _table(title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    text = f"The first {_MOST_ROWS} of {len(rows):,}." if len(rows) > _MOST_ROWS else ""
    return Table(title, text, [(h, False) for h in heads], [[Cell(t) for t in row] for row in rows[:_MOST_ROWS]])

