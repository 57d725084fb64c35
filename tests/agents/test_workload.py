"""The books of the work, against hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.agents.dca.workload import Ledger
from cosim.scenario.schema import WorkClassSpec

BATCH = WorkClassSpec(name="batch", share=1.0, max_delay_steps=2)


def ledger(arrivals: list[float], day: int | None = None) -> Ledger:
    """Books of one site, with days of so many steps that finish their work, or none."""
    length = len(arrivals) if day is None else day
    return Ledger([BATCH], np.array([[arrivals]]), lambda t: (t // length + 1) * length)


def test_work_may_wait_until_its_deadline() -> None:
    assert ledger([1.0, 0.0, 0.0, 0.0, 0.0]).may_wait(0, 5)[0, 0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_nothing_may_wait_at_the_end_of_the_horizon() -> None:
    assert ledger([1.0, 1.0, 1.0]).may_wait(0, 3)[0, 0, -1] == 0.0


def test_a_closed_window_finishes_its_work() -> None:
    books = ledger([1.0, 1.0, 1.0, 1.0], day=2)
    assert books.may_wait(0, 2)[0, 0].tolist() == [1.0, 0.0]


def test_what_a_closed_window_leaves_is_late_at_its_end_and_after() -> None:
    books = ledger([1.0, 1.0, 1.0, 1.0], day=2)
    books.may_wait(0, 2)
    books.commit(0, np.array([[1.5]]))
    assert [float(books.overdue(t)[0, 0]) for t in range(3)] == pytest.approx([0.0, 0.5, 0.5])


def test_backlog_is_what_arrived_and_is_not_done() -> None:
    books = ledger([1.0, 2.0, 0.0])
    books.commit(0, np.array([[0.25]]))
    assert books.backlog(2)[0, 0] == pytest.approx(2.75)


def test_overdue_is_what_passed_its_deadline() -> None:
    books = ledger([1.0, 0.0, 0.0, 0.0])
    books.commit(0, np.array([[0.4]]))
    assert [float(books.overdue(t)[0, 0]) for t in range(3)] == pytest.approx([0.0, 0.0, 0.6])


def test_a_plan_reaches_the_last_deadline_of_what_arrives_in_its_first_step() -> None:
    books = ledger([1.0] * 9)
    assert [books.planned_until(2, 3), books.planned_until(2, 5), books.planned_until(2, 6)] == [5, 5, 6]
    assert books.planned_until(8, 9) == 9
    assert [ledger([1.0] * 9, day=3).planned_until(t, t + 1) for t in (0, 1, 2)] == [3, 3, 3]
