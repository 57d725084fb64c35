"""What OpenDSS's loads and generators draw, as powers of voltage.

Source of the laws: ``Load.pas`` and ``Generator.pas`` of OpenDSS (``DoConstantPQLoad`` and its like).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from cosim.constants import KILO
from cosim.errors import InputError
from cosim.grid.feeder.circuit import GROUND, Draws
from cosim.grid.opendss.importer.devices import device_nodes, rated_kv
from cosim.grid.opendss.importer.reading import Properties, RawCircuit

GENERATION = ("generator", "pvsystem", "storage")
MODELS = {1: "PQ", 2: "Z", 3: "motor", 4: "exponent", 5: "I", 6: "fixed Q", 7: "fixed X", 8: "ZIP"}
VARIABLE = "variable"


class Part(NamedTuple):
    """A part of a load: power at rated voltage, its exponent in range, and what it is beyond (see :class:`Draws`)."""

    power: complex
    exponent: float
    below_current: float
    below_impedance: float
    above: float
    scaled: bool = True


def parts_of(p: Properties, power: complex) -> list[Part]:
    """A load of ``power`` at rated voltage as parts.

    Raises:
        KeyError: a model that has no law here.
    """
    low, high, lowest = (float(p[key]) for key in ("VMinpu", "VMaxpu", "VLowpu"))
    model = int(p["Model"])
    active, reactive = complex(power.real, 0), complex(0, power.imag)

    def constant_power(s: complex, exponent: float) -> Part:
        current, impedance = _interpolated(1 / low if low else 0.0, low, lowest)
        return Part(s, exponent, current, impedance, 1 / high**2 if high else 1.0)

    def constant_current(s: complex) -> Part:
        current, impedance = _interpolated(1.0, low, lowest)
        return Part(s, 1.0, current, impedance, 1 / high if high else 1.0)

    def impedance(s: complex, scaled: bool = True) -> Part:
        return Part(s, 2.0, 0.0, 1.0, 1.0, scaled)

    if model in (6, 7):
        fixed = Part(active, 0.0, 0.0, 1 / low**2 if low else 0.0, 1 / high**2 if high else 1.0)
        q = Part(reactive, 0.0, 0.0, 1.0, 1.0, False) if model == 6 else impedance(reactive, False)
        return [fixed, q]
    if model == 8:
        zp, ip, pp, zq, iq, pq, _ = (float(x) for x in p["ZIPV"])
        return [
            impedance(complex(zp * power.real, zq * power.imag)),
            constant_current(complex(ip * power.real, iq * power.imag)),
            constant_power(complex(pp * power.real, pq * power.imag), 0.0),
        ]
    exponents = {1: (0.0, 0.0), 3: (0.0, 2.0), 4: (float(p["CVRWatts"]), float(p["CVRVars"]))}
    if model == 2:
        return [impedance(power)]
    if model == 5:
        return [constant_current(power)]
    kp, kq = exponents[model]
    if kp == kq:
        return [constant_power(power, kp)]
    return [constant_power(active, kp), constant_power(reactive, kq)]


def _interpolated(current: float, low: float, lowest: float) -> tuple[float, float]:
    """Current and impedance that run from an impedance at ``lowest`` to ``current`` at ``low``, straight in between."""
    if low <= lowest:
        return 0.0, 1.0
    slope = (current - lowest) / (low - lowest)
    return lowest * (1 - slope), slope


@dataclass(slots=True)
class Collected:
    """Parts of all devices in service that have a voltage, as they are met.

    Attributes:
        row_of: row of a bus. column_of: place of a node at its bus, by (bus, node). kv: nominal voltage by bus.
    """

    raw: RawCircuit
    row_of: Mapping[str, int]
    column_of: Mapping[tuple[str, int], int]
    rows: list[tuple[object, ...]] = field(default_factory=list)
    without_voltage: list[str] = field(default_factory=list)

    def add_all(self) -> Draws:
        """Every load and generator.

        Raises:
            InputError: a device whose law is not known here, by name.
        """
        for name, p in self.raw.of("load").items():
            if p["Enabled"]:
                power = complex(float(p["kW"]), float(p["kvar"])) / KILO
                if int(p["Model"]) not in MODELS:
                    raise _refused(self.raw, f"load.{name}", p, "1 to 8")
                scaled = str(p["Status"]).lower() == VARIABLE
                self._add(f"load.{name}", p, [part._replace(scaled=part.scaled and scaled)
                                              for part in parts_of(p, power)], float(p["VLowpu"]))  # fmt: skip
        for kind in GENERATION:
            for name, p in self.raw.of(kind).items():
                if p["Enabled"]:
                    if int(p["Model"]) != 1:
                        raise _refused(self.raw, f"{kind}.{name}", p, "1 (constant power)")
                    low, high = float(p["VMinpu"]), float(p["VMaxpu"])
                    power = -self.raw.powers[f"{kind}.{name}"] / KILO
                    part = Part(power, 0.0, 0.0, 1 / low**2 if low else 0.0, 1 / high**2 if high else 1.0, False)
                    self._add(f"{kind}.{name}", p, [part], 0.0)
        columns = list(zip(*self.rows, strict=True)) or [()] * 13
        ints, flags = (0, 1, 2), (4,)
        kinds = [np.intp if k in ints else bool if k in flags else complex if k == 3 else float for k in range(13)]
        return Draws(*(np.array(c, dtype=kind) for c, kind in zip(columns, kinds, strict=True)))

    def _add(self, element: str, p: Properties, parts: list[Part], lowest: float) -> None:
        bus, pairs = device_nodes(p)
        rated = rated_kv(p) / self.raw.kv[bus]
        low, high = float(p["VMinpu"]), float(p["VMaxpu"])
        for first, second in pairs:
            ends = [GROUND if n == 0 else self.column_of.get((bus, n)) for n in (first, second)]
            if ends[0] == ends[1]:
                continue
            if None in ends or bus not in self.row_of:
                self.without_voltage.append(element)
                continue
            for x in parts:
                self.rows.append(
                    (self.row_of[bus], *ends, x.power / len(pairs), x.scaled, rated, x.exponent, lowest, low,
                     high or np.inf, x.below_current, x.below_impedance, x.above)
                )  # fmt: skip


def _refused(raw: RawCircuit, element: str, p: Properties, allowed: str) -> InputError:
    return InputError(
        f"{element} follows voltage in a way that is not linearised here", file=raw.file, key=f"{element}.model",
        value=p["Model"], allowed=f"model {allowed}",
    )  # fmt: skip
