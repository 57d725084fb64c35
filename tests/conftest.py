"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
settings.register_profile("untimed", deadline=None)  # how long an example takes is the machine's, not the code's
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of published reference data (COSIM_REFERENCE, or ../shared/reference beside the checkout)."""
    folder = Path(os.environ.get("COSIM_REFERENCE", ROOT.parent / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip(f"no reference data in {folder}; set COSIM_REFERENCE to the folder that has them")
    return folder
