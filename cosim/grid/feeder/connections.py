"""How a device written in a scenario hangs on its bus: the terminals through which it meets the phases."""

from __future__ import annotations

from cosim.errors import InputError
from cosim.grid.feeder.feeder import Feeder
from cosim.grid.feeder.phases import Terminal


def terminals_of(feeder: Feeder, bus_name: str, connection: str, key: str) -> tuple[Terminal, ...]:
    """Terminals of a device.

    Args:
        feeder: the feeder that has the bus.
        bus_name: bus of the device.
        connection: ``three_phase`` (one balanced terminal), ``per_phase`` (one terminal a phase or leg), a
            delta leg (``ab``...) or a phase (``a``...).
        key: scenario key, for messages.

    Returns:
        One terminal, or one per phase for ``per_phase``. On a three-wire bus phases are delta legs.

    Raises:
        InputError: unknown bus, or a phase that the bus does not have.
    """
    bus = next((b for b in feeder.buses if b.name == bus_name), None)
    if bus is None:
        allowed = ", ".join(b.name for b in feeder.buses)
        raise InputError(
            f"feeder {feeder.name} has no such bus", key=f"{key}.bus", value=bus_name, allowed=allowed
        )
    legs = bus.legs
    phases = tuple(bus.phases) if bus.grounded else ()
    if connection in ("three_phase", "per_phase"):
        if len(bus.phases) < 3:
            raise InputError(
                f"bus {bus_name} has only phase {bus.phases}, not three",
                key=f"{key}.connection",
                value=connection,
                allowed=", ".join(legs + phases),
            )
        kind, members = ("wye", phases) if bus.grounded else ("delta", legs)
        if connection == "three_phase":
            return (Terminal(bus_name, kind, members),)
        return tuple(Terminal(bus_name, kind, (m,)) for m in members)
    if connection not in legs + phases:
        raise InputError(
            f"bus {bus_name} has no such phase",
            key=f"{key}.connection",
            value=connection,
            allowed=", ".join(("three_phase", "per_phase", *legs, *phases)),
        )
    return (Terminal(bus_name, "delta" if len(connection) == 2 else "wye", (connection,)),)
