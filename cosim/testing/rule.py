"""An own update rule against :class:`cosim.coordination.rules.base.Rule`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cosim.coordination.rules import Posted, Round, Rule, find_rule
from cosim.errors import InputError
from cosim.protocol.roles import Clearing
from cosim.testing.cases import COMMON, CREATED, Array, Trial, import_path, is_table, raising, shape_of
from cosim.testing.report import Report

CHECKS = {
    **COMMON,
    "posts": "first and next return a Posted",
    "shapes": "prices and target are (steps, terminals), a penalty is one number or (steps, terminals, terminals)",
    "penalty": "a penalty is not negative, and comes with a target",
    "unchanged": "what it is told (declared demand, bids, prices) is not changed",
    "ended": "ended returns a text, empty to go on",
    "settled": "agreed returns a demand, and settled a Clearing of the demand that it is given",
}


def check_rule(
    rule: str | type[Rule],
    *,
    parameters: Mapping[str, Any] | None = None,
    scenario: str | Path = "ieee37",
    folder: str | Path | None = None,
) -> Report:
    """Try an update rule out in short negotiations, and say what of the contract it breaks.

    Args:
        rule: ``package.module:Class``, or the class. parameters: what the scenario says to it.
        scenario: whose aggregators it negotiates with for a few hours.
        folder: in which its module is looked for first.

    Raises:
        InputError: the class cannot be imported, or the scenario cannot be used.
    """
    path = import_path(rule, folder)
    report = Report(path, CHECKS)
    try:
        cls = find_rule(path)
    except InputError as error:
        report.add(CREATED, str(error))
        return report
    told = {"decentralized.rule": path, "decentralized.parameters": dict(parameters or {})}
    trial = Trial(report, scenario, told)
    with ExitStack() as stack:
        for name, wrapped in _watching(report).items():
            stack.enter_context(_watched(cls, name, wrapped))
        trial.run_twice(lambda simulation: None)
    return report


@contextmanager
def _watched(cls: type[Rule], name: str, wrapped: Callable[..., Any]) -> Iterator[None]:
    """Have a method of a class called through a function of (method, rule, arguments)."""
    own, inherited = getattr(cls, name), name not in vars(cls)
    setattr(cls, name, lambda self, *given: wrapped(lambda *args: own(self, *args), self, *given))
    try:
        yield
    finally:
        if inherited:
            delattr(cls, name)
        else:
            setattr(cls, name, own)


def _watching(report: Report) -> dict[str, Callable[..., Any]]:
    """What looks at each method of a rule."""

    def first(own: Callable[..., Any], rule: Rule, declared_p_mw: Array, first_step: int) -> Any:
        before = declared_p_mw.copy()
        with raising(report, "first"):
            posted = own(declared_p_mw, first_step)
        _check_posted(report, posted, declared_p_mw.shape, "first")
        report.demand(np.array_equal(before, declared_p_mw), "unchanged", "first changed the declared demand")
        return posted

    def following(own: Callable[..., Any], rule: Rule, made: Round) -> Any:
        before = made.p_mw.copy(), made.price.copy()
        with raising(report, "next"):
            posted = own(made)
        _check_posted(report, posted, made.p_mw.shape, "next")
        same = np.array_equal(before[0], made.p_mw) and np.array_equal(before[1], made.price)
        report.demand(same, "unchanged", "next changed the bids or prices of the round")
        return posted

    def ended(own: Callable[..., Any], rule: Rule, made: Round) -> Any:
        with raising(report, "ended"):
            why = own(made)
        report.demand(isinstance(why, str), "ended", f"ended returned a {type(why).__name__}, expected a text")
        return why

    def agreed(own: Callable[..., Any], rule: Rule, p_mw: Array) -> Any:
        with raising(report, "agreed"):
            demand = own(p_mw)
        told = f"agreed returned {shape_of(demand)}, expected {p_mw.shape}"
        report.demand(is_table(demand, *p_mw.shape), "settled", told)
        return demand

    def settled(own: Callable[..., Any], rule: Rule, clearing: Clearing, made: Round | None) -> Any:
        with raising(report, "settled"):
            found = own(clearing, made)
        if report.demand(isinstance(found, Clearing), "settled", f"settled returned a {type(found).__name__}"):
            same = np.array_equal(found.p_mw, clearing.p_mw)
            report.demand(same, "settled", "settled returned the clearing of another demand")
            steps, count = clearing.p_mw.shape
            priced = is_table(found.prices.p_usd_per_mwh, steps, count)
            report.demand(priced, "shapes", f"prices of settled are {shape_of(found.prices.p_usd_per_mwh)}")
        return found

    return {"first": first, "next": following, "ended": ended, "agreed": agreed, "settled": settled}


def _check_posted(report: Report, posted: object, shape: tuple[int, ...], method: str) -> None:
    """Look at what is posted."""
    if not isinstance(posted, Posted):
        report.add("posts", f"{method} returned a {type(posted).__name__}, expected a Posted")
        return
    steps, count = shape
    for name, values in (
        ("price of active power", posted.prices.p_usd_per_mwh),
        ("price of reactive power", posted.prices.q_usd_per_mvarh),
        ("target", posted.target_p_mw),
    ):
        if values is not None:
            told = f"the {name} that {method} posts is {shape_of(values)}, expected {shape}"
            report.demand(is_table(values, steps, count), "shapes", told)
    penalty = np.asarray(posted.penalty, dtype=float)
    if penalty.ndim and penalty.shape != (steps, count, count):
        told = f"the penalty that {method} posts is {shape_of(penalty)}, expected {(steps, count, count)}"
        report.add("shapes", told)
        return
    least = float(penalty if penalty.ndim == 0 else np.linalg.eigvalsh(penalty).min())
    report.demand(least >= 0, "penalty", f"the penalty that {method} posts is negative ({least:.4g})")
    targeted = posted.target_p_mw is not None or not penalty.any()
    report.demand(targeted, "penalty", f"{method} posts a penalty and no target")
