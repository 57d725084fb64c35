"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
settings.register_profile("untimed", deadline=None)  # how long an example takes is the machine's, not the code's
settings.load_profile("untimed")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each process that a test starts would compile all of cosim


def stays() -> None:
    """What is alive now stays, and need not be looked through with every collection of garbage."""
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    stays()


@pytest.fixture(scope="module", autouse=True)
def what_a_module_leaves() -> Iterator[None]:
    """Results that later modules look at, and what libraries never let go of, are gone through once."""
    yield
    stays()


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of published reference data (COSIM_REFERENCE, or ../shared/reference beside the checkout)."""
    folder = Path(os.environ.get("COSIM_REFERENCE", ROOT.parent / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip(f"no reference data in {folder}; set COSIM_REFERENCE to the folder that has them")
    return folder


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results as with figures, pages among them, but none is drawn: that takes most of the time of a short run."""
    for name in ("runs.feeder_figures", "runs.market_figures", "modes.comparison_figures"):
        monkeypatch.setattr(f"cosim.results.figures.{name}", lambda *_: {})
