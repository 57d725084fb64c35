"""Time zones: names as users write them, and local times that occur twice or never."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cosim.errors import InputError

_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?")


@cache
def zone_of(name: str, key: str) -> tzinfo:
    """The zone of a name: ``Europe/Berlin``, ``UTC``, or a fixed offset as ``UTC-08:00`` or ``+01:00``.

    Raises:
        InputError: no such zone.
    """
    if name.upper() in ("UTC", "GMT", "Z"):
        return UTC
    if offset := _OFFSET.fullmatch(name.upper()):
        sign, hours, minutes = offset.groups()
        length = timedelta(hours=int(hours), minutes=int(minutes or 0))
        if length < timedelta(days=1):
            return timezone(-length if sign == "-" else length)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError("no such time zone", key=key, value=name,
                         allowed="a name as America/Los_Angeles, UTC, or an offset as UTC-08:00") from None  # fmt: skip


def occurs(local: datetime, zone: tzinfo) -> bool:
    """Whether clocks ever show this local time: not in the hour that they skip in spring."""
    return local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local


def occurs_twice(local: datetime, zone: tzinfo) -> bool:
    """Whether clocks show this local time twice, as in the hour that they repeat in autumn."""
    first = local.replace(tzinfo=zone, fold=0)
    return occurs(local, zone) and first.utcoffset() != first.replace(fold=1).utcoffset()
