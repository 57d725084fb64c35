"""What OpenDSS's loads and generators draw, as powers of voltage, at the places of a circuit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cosim.constants import KILO
from cosim.errors import InputError
from cosim.grid.feeder.circuit import GROUND, Draws
from cosim.grid.opendss.importer.devices import device_nodes, rated_kv
from cosim.grid.opendss.importer.load_laws import MODELS, Part, parts_of
from cosim.grid.opendss.importer.reading import Properties, RawCircuit

GENERATION = ("generator", "pvsystem", "storage")
VARIABLE = "variable"


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
