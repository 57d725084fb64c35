"""The limits of a scenario on its feeder: voltages of single buses, of voltage levels and of all others, ratings."""

from __future__ import annotations

from collections.abc import Sequence

from cosim.constants import KILO
from cosim.errors import InputError, did_you_mean, listed
from cosim.grid.feeder.feeder import Feeder, phase_rating_kva
from cosim.grid.feeder.limits import NetworkLimits, VoltageLimits
from cosim.scenario.schema import NetworkSpec, VoltageLimitSpec

_ALIKE = 0.02
"""Relative difference of nominal voltages that count as one level."""
_LISTED = 30


def voltage_limits_of(network: NetworkSpec, feeder: Feeder) -> VoltageLimits:
    """The limits of every bus: the scenario's for it, then the scenario's for its level, then those of the feeder's
    table, then the general ones. A side that an entry leaves out is the one that holds without the entry.

    Raises:
        InputError: no such bus or level, a bus or level twice, or limits that leave no voltage.
    """
    general = network.v_min_pu, network.v_max_pu
    found: dict[str, tuple[float, float]] = {}
    for bus in feeder.buses:
        if bus.v_min_pu is not None or bus.v_max_pu is not None:
            found[bus.name] = _replaced(general, bus.v_min_pu, bus.v_max_pu)
    entries = list(enumerate(network.voltage_limits))
    of_buses = [(i, spec, _named(i, spec, feeder)) for i, spec in entries if spec.kv is None]
    of_levels = [(i, spec, _at_level(i, spec.kv, feeder)) for i, spec in entries if spec.kv is not None]
    for several in (of_levels, of_buses):
        seen: dict[str, int] = {}
        for i, spec, names in several:
            for name in names:
                if name in seen:
                    raise InputError(
                        f"bus {name} has voltage limits twice", key=f"network.voltage_limits.{i}", value=name,
                        allowed=f"once (network.voltage_limits.{seen[name]} names it, or its level)",
                    )  # fmt: skip
                seen[name] = i
                found[name] = _replaced(found.get(name, general), spec.v_min_pu, spec.v_max_pu)
    limits = {bus: both for bus, both in found.items() if both != general}
    for name, (low, high) in limits.items():
        if not low < high:
            raise InputError(
                f"the voltage limits of bus {name} leave no voltage", key="network.voltage_limits",
                value=f"{low:g} to {high:g} pu", allowed="v_min_pu below v_max_pu",
            )  # fmt: skip
    return VoltageLimits(*general, limits)


def ratings_mva(network: NetworkSpec, feeder: Feeder, kept: bool = True) -> dict[str, float]:
    """Three-phase rating of each rated branch, MVA: the scenario's, then the feeder's.

    Args:
        kept: those of the feeder only where the scenario makes them limits.
    """
    found = {}
    if network.feeder_ratings or not kept:
        each = {b.name: phase_rating_kva(b, feeder.bus_by_name[b.to_bus]) for b in feeder.branches}
        found = {name: 3 * kva / KILO for name, kva in each.items() if kva is not None}
    return found | {name: kva / KILO for name, kva in network.branch_rating_kva.items()}


def limits_of_network(network: NetworkSpec, feeder: Feeder) -> NetworkLimits:
    """All limits that a scenario keeps in its network; see :func:`voltage_limits_of` for errors."""
    ratings = {name: KILO * mva / 3 for name, mva in ratings_mva(network, feeder).items()}
    u = network.unbalance
    return NetworkLimits(voltage_limits_of(network, feeder), ratings, u.buses, u.limit_pct, u.pvur_limit_pct)


def _replaced(before: tuple[float, float], low: float | None, high: float | None) -> tuple[float, float]:
    return before[0] if low is None else low, before[1] if high is None else high


def _named(i: int, spec: VoltageLimitSpec, feeder: Feeder) -> Sequence[str]:
    known = feeder.bus_by_name
    for bus in spec.buses:
        if bus not in known:
            names = sorted(known)
            raise InputError(
                f"feeder {feeder.name} has no such bus{did_you_mean(bus, names)}",
                key=f"network.voltage_limits.{i}.buses", value=bus, allowed=listed(names, _LISTED),
            )  # fmt: skip
    return spec.buses


def _at_level(i: int, kv: float, feeder: Feeder) -> Sequence[str]:
    """Buses whose nominal voltage is this one."""
    buses = [bus.name for bus in feeder.buses if abs(bus.kv_base - kv) <= _ALIKE * bus.kv_base]
    if not buses:
        levels = sorted({round(bus.kv_base, 3) for bus in feeder.buses})
        raise InputError(
            f"feeder {feeder.name} has no bus of this nominal voltage", key=f"network.voltage_limits.{i}.kv", value=kv,
            allowed=", ".join(f"{x:g}" for x in levels[:_LISTED]) + " kV",
        )  # fmt: skip
    return buses
