"""Domains of nodes: which complementarities are decided, and where the parameters lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from cosim.optimization.bilevel.model.settlement import Box
from cosim.optimization.bilevel.relaxation.relaxation import OPEN, Decisions, both
from cosim.optimization.qp.arrays import Indices


@dataclass(frozen=True, slots=True)
class BlockDomain:
    """The domain of one block in a node.

    Attributes:
        held: (m,) decision for each pair of dual and slack.
        box: bounds of parameters and rests, for a payment with products.
        cell: number of the set of leaves of the pricing problem's tree that the block is confined to; 0 for all.
    """

    held: Decisions
    box: Box | None = None
    cell: int = 0

    def key(self) -> bytes:
        """Equal for equal domains of a block."""
        box = b"" if self.box is None else self.box.key()
        return self.cell.to_bytes(8, "big") + self.held.tobytes() + box

    def meet(self, other: BlockDomain) -> BlockDomain | None:
        """The intersection of two domains, one of which has no cell or the other's; None where it is empty."""
        if np.any((self.held != OPEN) & (other.held != OPEN) & (self.held != other.held)):
            return None
        box = self.box if other.box is None else other.box
        if self.box is not None and other.box is not None:
            box = self.box.meet(other.box)
            if box is None:
                return None
        return BlockDomain(np.maximum(self.held, other.held), box, max(self.cell, other.cell))

    def decided(self, pair: int) -> list[BlockDomain]:
        """With one more pair decided, one way and the other."""
        return [replace(self, held=held) for held in both(self.held, pair)]


@dataclass(frozen=True, slots=True)
class Domain:
    """The domain of a node: of the whole follower.

    Attributes:
        held, box: as of a block, over all blocks.
        cells: cell by number of the block.
    """

    held: Decisions
    box: Box | None = None
    cells: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({}))

    def part(self, number: int, rows: Indices, parameters: Indices) -> BlockDomain:
        """The domain of the block with these rows and parameters."""
        box = None if self.box is None else self.box.part(parameters)
        return BlockDomain(self.held[rows], box, self.cells.get(number, 0))

    def decided(self, pair: int) -> list[Domain]:
        """With one more pair decided, one way and the other."""
        return [replace(self, held=held) for held in both(self.held, pair)]

    def within(self, number: int, cell: int) -> Domain:
        """With a block confined to a cell."""
        return replace(self, cells=MappingProxyType({**self.cells, number: cell}))

    @property
    def whole(self) -> bool:
        """Whether nothing is decided and no block confined."""
        return not self.cells and not bool(np.any(self.held != OPEN))
