"""Own agents, rules and resources against the contract: what each must keep, tried out in short runs.

    from cosim.testing import check_aggregator

    report = check_aggregator("my_agents:Cautious", folder="cases/mine")
    print(report)          # every finding by the name of the check that it breaks
    report.require()       # for a test: an AssertionError that lists them
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cosim.exports import exported

if TYPE_CHECKING:
    from cosim.testing.aggregator import check_aggregator
    from cosim.testing.operator import check_operator
    from cosim.testing.report import Finding, Report
    from cosim.testing.resource import check_resource
    from cosim.testing.rule import check_rule

__all__ = ["Finding", "Report", "check_aggregator", "check_operator", "check_resource", "check_rule"]

__getattr__ = exported(
    __name__,
    {
        "check_aggregator": "cosim.testing.aggregator",
        "check_operator": "cosim.testing.operator",
        "check_resource": "cosim.testing.resource",
        "check_rule": "cosim.testing.rule",
        "Finding": "cosim.testing.report",
        "Report": "cosim.testing.report",
    },
)
