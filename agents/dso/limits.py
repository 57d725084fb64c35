"""What the operator keeps, from the scenario and its feeder."""

from __future__ import annotations

from cosim.agents.dso.clearing import Limits
from cosim.errors import InputError
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.linear.response import flow_branches, strongest_response
from cosim.scenario.network_limits import ratings_mva, voltage_limits_of
from cosim.scenario.schema import Scenario


def limits_of(scenario: Scenario, feeder: Feeder) -> Limits:
    """Limits of a scenario on its feeder, and what breaking them costs.

    Raises:
        InputError: unknown bus or branch.
    """
    network = scenario.network
    rated = network.unbalance.pvur_limit_pct is not None
    what = " with three phases" if rated else ""
    buses = {b.name for b in feeder.buses if b.phases == "abc" or not rated}
    for i, bus in enumerate(network.unbalance.buses):
        if bus not in buses:
            raise InputError(
                f"feeder {feeder.name} has no such bus{what}", key=f"network.unbalance.buses.{i}", value=bus,
                allowed=", ".join(sorted(buses)),
            )  # fmt: skip
    branches = flow_branches(feeder)
    for name in network.branch_rating_kva:
        if name not in branches:
            raise InputError(
                f"feeder {feeder.name} has no such branch", key=f"network.branch_rating_kva.{name}",
                value=name, allowed=", ".join(branches),
            )  # fmt: skip
    return Limits(
        v_min_pu=network.v_min_pu,
        v_max_pu=network.v_max_pu,
        price_cap_usd_per_mwh=network.price_cap_usd_per_mwh,
        voltage_penalty_usd_per_pu2h=network.price_cap_usd_per_mwh / strongest_response(feeder),
        branch_rating_mva=ratings_mva(network, feeder),
        unbalance_price_usd_per_pct2h=network.unbalance.price_usd_per_pct2h,
        unbalance_buses=network.unbalance.buses,
        unbalance_limit_pct=network.unbalance.limit_pct,
        pvur_limit_pct=network.unbalance.pvur_limit_pct,
        bus_voltage_pu=voltage_limits_of(network, feeder).buses,
    )
