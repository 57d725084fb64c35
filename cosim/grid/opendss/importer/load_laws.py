"""How the loads of OpenDSS follow voltage: as parts, each a power of the voltage across it within a range.

Source of the laws: ``Load.pas`` and ``Generator.pas`` of OpenDSS (``DoConstantPQLoad`` and its like). What holds beyond
the range is stated in :class:`cosim.grid.feeder.circuit.Draws`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cosim.grid.feeder.circuit import law_in_force
from cosim.grid.opendss.importer.reading import Properties

MODELS = {1: "PQ", 2: "Z", 3: "motor", 4: "exponent", 5: "I", 6: "fixed Q", 7: "fixed X", 8: "ZIP"}


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


class Term(NamedTuple):
    """``power * u**exponent``, u per unit of rated voltage; scaled: follows the load scale."""

    power: complex
    exponent: float
    scaled: bool


def terms_at(p: Properties, power: complex, u: float) -> tuple[list[Term], bool]:
    """A load of ``power`` at rated voltage as the terms in force at the voltage ``u`` across it, per unit of rated.

    Returns:
        The terms, none of them zero, and whether all parts are in their range.

    Raises:
        KeyError: a model that has no law here.
    """
    found, kept = [], True
    for part in parts_of(p, power):
        inside, current, impedance = law_in_force(
            np.array(u), float(p["VLowpu"]), float(p["VMinpu"]), float(p["VMaxpu"]) or np.inf,
            part.below_current, part.below_impedance, part.above,
        )  # fmt: skip
        if part.exponent == 2.0 and part.below_impedance == part.above == 1.0:
            inside, impedance = np.array(True), np.zeros(())  # an impedance stays one
        kept &= bool(inside)
        beyond = [(float(current), 1.0), (float(impedance), 2.0)]
        laws = [(1.0, part.exponent)] if inside else [law for law in beyond if law[0]]
        found += [Term(part.power * factor, exponent, part.scaled) for factor, exponent in laws if part.power]
    return found, kept
