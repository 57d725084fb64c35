"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
settings.register_profile("untimed", deadline=None)  # how long an example takes is the machine's, not the code's
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays, and need not be looked through with every collection of garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of published reference data (COSIM_REFERENCE, or ../shared/reference beside the checkout)."""
    folder = Path(os.environ.get("COSIM_REFERENCE", ROOT.parent / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip(f"no reference data in {folder}; set COSIM_REFERENCE to the folder that has them")
    return folder
