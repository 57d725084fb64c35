"""The feeder alone, without data centers and resources: which broken voltage limits are there in any case."""

from __future__ import annotations

from dataclasses import dataclass, field

from cosim.grid.feeder.feeder import Feeder
from cosim.grid.opendss.circuit import AcCircuit, AcSolution


@dataclass(slots=True)
class FeederAlone:
    """Compares the AC voltages of a run with those of its feeder alone, in steps in which a limit is broken.

    Attributes:
        low_pu, high_pu: voltages beyond which a limit is broken.
        broken: voltages beyond a limit in the run; also_alone: those that are so in the feeder alone;
        worst: of the latter the one farthest beyond, as (distance, step, bus, phase, voltage).
    """

    feeder: Feeder
    low_pu: float
    high_pu: float
    broken: int = 0
    also_alone: int = 0
    worst: tuple[float, int, str, str, float] = (0.0, 0, "", "", 0.0)
    _circuit: list[AcCircuit] = field(default_factory=list)

    def see(self, step: int, load_scale: float, feeder: Feeder, ac: AcSolution) -> None:
        """Look at the AC solution of a step, and at that of the feeder alone with its devices where they stand then."""
        broken = [label for label, v in ac.voltages.items() if self._beyond(v) > 0]
        if not broken:
            return
        if not self._circuit:  # one of its own: where an iteration starts shows in the last digits
            self._circuit.append(AcCircuit(self.feeder))
        circuit = self._circuit[0]
        circuit.move_to(feeder)
        alone = circuit.solve(load_scale)
        self.broken += len(broken)
        if not alone.settled:
            return
        for label in broken:
            v = alone.voltages[label]
            beyond = self._beyond(v)
            self.also_alone += beyond > 0
            if beyond > self.worst[0]:
                self.worst = (beyond, step, *label, v)

    def note(self) -> str | None:
        """What a reader should know; None if no limit is broken without what is connected."""
        if not self.also_alone:
            return None
        _, step, bus, phase, v = self.worst
        count = "all" if self.also_alone == self.broken else str(self.also_alone)
        return (
            f"{count} of the {self.broken} AC voltages beyond their limits are there without any data center or "
            f"resource, at worst {v:.4f} pu (step {step}, bus {bus} {phase})"
        )

    def _beyond(self, v: float) -> float:
        return max(self.low_pu - v, v - self.high_pu, 0.0)
