"""Rules by which sites share what the limits of a network leave, by name or by import path.

====================  ===================================================================================
name                  what each site gets
====================  ===================================================================================
``max_sum``           what makes the sum over all sites largest (a linear program)
``equal``             the same for all; who is not held back by what holds others back gets more (max-min)
``proportional``      as ``equal``, in shares of the flexible part of the agreements
``last_in_first_out``  as much as it can have, in the order of the queue; who shares a place, as ``equal``
====================  ===================================================================================
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel

from cosim.errors import InputError
from cosim.optimization.qp.parametric import ParametricQP
from cosim.optimization.solvers.qp_solver import QPSolver
from cosim.protocol.envelopes import Array, Sharing, SharingRule
from cosim.scenario.own_code import agent_class, parameters_of
from cosim.scenario.schema import Scenario

RULE, PARAMETERS = "envelope.rule", "envelope.parameters"
_FULL = 1e-12
"""Room (relative to the row's loading by all) below which a row leaves nothing."""


def fill(sharing: Sharing, weights: Array, start: Array | None = None) -> Array:
    """Lexicographic max-min shares: all sites rise together, each at the pace of its weight, until a row is full or one
    has all it may get; whoever cannot rise stays, the others go on.

    As no coefficient is negative, a site can rise exactly if no full row is loaded by it, so that this is the
    max-min fair point (Bertsekas and Gallager 1992, Data Networks, section 6.5.2).

    Args:
        weights: (sites,), 0 for who gets nothing here.
        start: (sites,) MW that each has already.

    Returns:
        (sites,) MW, ``start`` included.
    """
    more = np.zeros(len(weights)) if start is None else start.copy()
    rising = (weights > 0) & (more < sharing.most_mw)
    scale = _FULL * (1.0 + sharing.loading.sum(axis=1))
    while rising.any():
        pace = np.where(rising, weights, 0.0)
        taken, left = sharing.loading @ pace, sharing.room - sharing.loading @ more
        rows = taken > 0
        room = np.min(np.maximum(left[rows], 0.0) / taken[rows], initial=np.inf)
        to_most = np.where(rising, (sharing.most_mw - more) / np.where(rising, weights, 1.0), np.inf)
        by = min(room, float(to_most.min()))
        more = np.where(rising, np.minimum(more + by * weights, sharing.most_mw), more)
        full = sharing.room - sharing.loading @ more <= scale
        if room <= float(to_most.min()):
            full |= rows & (np.maximum(left, 0.0) <= by * taken)
        stopped = (sharing.loading[full] > 0).any(axis=0) | (to_most <= by)
        rising &= ~stopped
    return more


class MaxSum:
    """The sum over all sites is as large as can be."""

    name = "max_sum"

    def share(self, sharing: Sharing) -> Array:
        """Solve the linear program; see :class:`SharingRule`."""
        count = len(sharing.most_mw)
        tight = sharing.loading @ sharing.most_mw > sharing.room
        bounds = sp.eye_array(count)
        matrix = sp.csr_array(sp.vstack([sp.csr_array(sharing.loading[tight]), bounds, -bounds]))
        rhs = np.concatenate([sharing.room[tight], sharing.most_mw, np.zeros(count)])
        program = ParametricQP(
            hessian=sp.csr_array((count, count)), cost=-np.ones(count), cost_theta=sp.csr_array((count, 0)),
            eq_matrix=sp.csr_array((0, count)), eq_rhs=np.zeros(0), eq_theta=sp.csr_array((0, 0)),
            ineq_matrix=matrix, ineq_rhs=rhs, ineq_theta=sp.csr_array((len(rhs), 0)),
            constant=0.0, constant_theta=np.zeros(0), variables=tuple(f"more[{k}]" for k in range(count)),
            parameters=(), eq_rows=(), ineq_rows=tuple(f"row[{i}]" for i in range(len(rhs))),
            theta_lower=np.zeros(0), theta_upper=np.zeros(0),
        )  # fmt: skip
        found = QPSolver(program, solver="highs").solve(np.zeros(0)).require()
        return np.asarray(np.clip(found.x, 0.0, sharing.most_mw))


class Equal:
    """The same for all, as far as each can have it."""

    name = "equal"

    def share(self, sharing: Sharing) -> Array:
        """All rise at the same pace; see :func:`fill`."""
        return fill(sharing, np.ones(len(sharing.most_mw)))


class Proportional:
    """In shares of the flexible parts of the agreements, as far as each can have it."""

    name = "proportional"

    def share(self, sharing: Sharing) -> Array:
        """All rise at the pace of their flexible part; see :func:`fill`."""
        return fill(sharing, sharing.flexible_mw)


class LastInFirstOut:
    """Who comes later in the queue is limited first."""

    name = "last_in_first_out"

    def share(self, sharing: Sharing) -> Array:
        """One place of the queue after the other rises; see :func:`fill`."""
        more = np.zeros(len(sharing.most_mw))
        for place in np.unique(sharing.priority):
            more = fill(sharing, (sharing.priority == place).astype(float), more)
        return more


SHARING: dict[str, type[SharingRule]] = {
    rule.name: rule for rule in (MaxSum, Equal, Proportional, LastInFirstOut)
}


class CheckedRule:
    """A rule whose shares are checked: a rule of a user's own may ask for more than the network carries.

    Args:
        rule: what decides; name: what the table of envelopes calls it.
    """

    Tolerance: ClassVar[float] = 1e-9

    def __init__(self, rule: SharingRule, name: str) -> None:
        self.rule, self.name = rule, name

    def share(self, sharing: Sharing) -> Array:
        """The rule's shares.

        Raises:
            InputError: they are no (sites,) numbers between nothing and the most, or break a row.
        """
        more = np.asarray(self.rule.share(sharing), dtype=float)
        if more.shape != sharing.most_mw.shape or not np.isfinite(more).all():
            raise InputError("a rule of sharing returns a finite number of MW for each site", key=RULE,
                             value=self.name, allowed=f"{len(sharing.most_mw)} numbers")  # fmt: skip
        beyond = max(float((more - sharing.most_mw).max(initial=0.0)), float((-more).max(initial=0.0)))
        over = sharing.loading @ more - sharing.room
        if beyond > self.Tolerance or (over > self.Tolerance * (1.0 + sharing.room)).any():
            raise InputError("shares are more than a site may have, or than the network carries", key=RULE,
                             value=self.name, allowed="0 <= share <= most_mw, loading @ share <= room")  # fmt: skip
        return np.asarray(np.clip(more, 0.0, sharing.most_mw))


def find_sharing(scenario: Scenario) -> SharingRule:
    """The rule of a scenario: one by name, or the class at ``package.module:Class``.

    Raises:
        InputError: no such rule, or parameters that it does not take.
    """
    spec = scenario.envelope
    found: type[Any] | None = SHARING.get(spec.rule)
    if found is None and ":" in spec.rule:
        found = agent_class(spec.rule, RULE, ("share",))
    if found is None:
        raise InputError("no such rule of sharing", key=RULE, value=spec.rule,
                         allowed=f"{', '.join(SHARING)}, or package.module:Class with a method share")  # fmt: skip
    parameters: BaseModel | None = parameters_of(found, spec.parameters, PARAMETERS)
    rule: SharingRule = found() if parameters is None else found(parameters)
    return CheckedRule(rule, getattr(found, "name", found.__name__))


