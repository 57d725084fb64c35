"""Short studies, made once for all tests."""

from __future__ import annotations

import pytest

from cosim.experiments import coordination, svg
from cosim.experiments.common import Findings


@pytest.fixture(scope="package")
def modes() -> Findings:
    """Hours of the stressed feeder in which a voltage limit binds, all modes, two update rules."""
    overrides = {"clock.start": "2024-07-15T08:00:00", "clock.steps": 3}
    return coordination.study(["ieee37_stress"], overrides, rules=("admm", "best_response"))


@pytest.fixture(scope="package")
def compensators() -> Findings:
    """Two hours of the feeder with SVGs, every case."""
    return svg.study(["ieee37_svg"], overrides={"clock.steps": 2})
