"""The numbers of a circuit that the tables are made from: finite, and above nought where they divide something."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cosim.errors import InputError

LARGEST, SMALLEST = 1e15, 1e-9
_SETTINGS = "Delay PTRatio"
POSITIVE: Mapping[str, str] = {
    "vsource": "BasekV pu", "line": "Length BaseFreq", "transformer": "kVs kVAs Taps", "load": "kV", "capacitor": "kV",
}  # fmt: skip
FINITE: Mapping[str, str] = {
    "vsource": "Z1 Z0",
    "line": "RMatrix XMatrix CMatrix NormAmps",
    "reactor": "R X",
    "transformer": "pctRs XHL XHT XLT pctNoLoadLoss pctIMag MinTap MaxTap",
    "load": "kW kvar VMinpu VMaxpu CVRWatts CVRVars ZIPV",
    "capacitor": "kvar R XL",
    "regcontrol": f"{_SETTINGS} VReg Band CTPrim R X TapDelay MaxTapChange VLimit RemotePTRatio",
    "capcontrol": f"{_SETTINGS} CTRatio OnSetting OffSetting DelayOff DeadTime VMin VMax",
}
"""Properties by class."""


def check_numbers(elements: Mapping[str, Mapping[str, Mapping[str, Any]]], file: Path) -> None:
    """Check the elements in service.

    Args:
        elements: properties by class and name.

    Raises:
        InputError: a property that is no number, or none that a table can have.
    """
    for table, lowest, allowed in (
        (POSITIVE, SMALLEST, f"a number from {SMALLEST:g} to {LARGEST:g}"),
        (FINITE, -LARGEST, f"a number, at most {LARGEST:g} in size"),
    ):
        for kind, keys in table.items():
            for name, p in elements.get(kind, {}).items():
                for key in keys.split() if p["Enabled"] else ():
                    if not all(_is_number(x, lowest) for x in _flat(p[key])):
                        raise InputError(
                            "a number that the tables cannot have", file=file, key=f"{kind}.{name}.{key}",
                            value=str(p[key])[:100], allowed=allowed,
                        )  # fmt: skip


def _is_number(value: object, lowest: float) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and lowest <= value <= LARGEST


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _flat(part)
    else:
        yield value
