"""How far a circuit of our tables is from the one that it was imported from."""

from __future__ import annotations

import numpy as np

from cosim.grid.opendss.circuit import AcCircuit
from cosim.grid.opendss.importer.importer import Import


def phasors_apart(found: Import, circuit: AcCircuit) -> float:
    """Largest difference of phasors, per unit: to neutral, on three-wire buses to their centroid."""
    worst = 0.0
    for row, bus in zip(circuit.node_phasors, found.feeder.buses, strict=True):
        if all((bus.name, x) in found.volts for x in bus.phases):
            theirs = np.array([found.volts[bus.name, x] for x in bus.phases]) / 1000 / bus.kv_neutral
            ours = row[: len(bus.phases)]
            if not bus.grounded:
                theirs, ours = theirs - theirs.mean(), ours - ours.mean()
            worst = max(worst, float(np.abs(theirs - ours).max()))
    return worst
