"""AC power flow of a feeder in OpenDSS, its controls, its admittance matrix, and the import of circuits."""

from typing import TYPE_CHECKING

from cosim.exports import exported

if TYPE_CHECKING:
    from cosim.grid.opendss.circuit import AcCircuit, AcSolution

__all__ = ["AcCircuit", "AcSolution"]

__getattr__ = exported(__name__, dict.fromkeys(__all__, "cosim.grid.opendss.circuit"))
