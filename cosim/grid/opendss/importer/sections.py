"""Which buses have a neutral: sections between transformers, what feeds them and what hangs on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cosim.grid.feeder.feeder import UNGROUNDED
from cosim.grid.opendss.importer.naming import listed
from cosim.grid.opendss.importer.tree import RawBranch, Section, Tree

THREE_WIRE = ("delta", UNGROUNDED)
"""Connections that take no current out of a neutral."""


def connections(branch: RawBranch, upper: str) -> tuple[str, str]:
    """Connection of the winding at ``upper`` and of the other: ``wye``, ``wye-ungrounded``, ``delta`` or ``split``."""
    kinds = []
    for end, text in zip(branch.ends, listed(branch.properties["Conns"]), strict=True):
        if end.floating:
            kinds.append(UNGROUNDED)
        elif int(branch.properties["Phases"]) == 3:
            kinds.append("delta" if str(text).lower() in ("delta", "ll") else "wye")
        else:
            kinds.append("wye" if 0 in end.nodes else "delta")
    if len(kinds) == 3:
        kinds = [kinds[0], "split"]
    return (kinds[0], kinds[1]) if branch.ends[0].bus == upper else (kinds[1], kinds[0])


def divide(tree: Tree, neutral_used: Mapping[str, Sequence[str]]) -> None:
    """Fill in the tree's sections.

    A section behind a delta or ungrounded winding has no neutral, one behind a grounded wye or centre-tapped winding
    has. The source's own section counts as three-wire if it feeds such windings and delta devices only, all three
    phases everywhere: then line-to-line voltages are what matters, and no current returns through the ground.

    Args:
        neutral_used: devices that need a neutral, by bus.
    """
    section = Section("source", True, False, [tree.source])
    tree.section[tree.source] = section
    needs = list(neutral_used.get(tree.source, ()))
    for upper, lower, group in tree.groups:
        transformers = [b for b in group if b.kind == "transformer"]
        above = tree.section[upper]
        if transformers:
            high, low = connections(transformers[0], upper)
            if above is section and high not in THREE_WIRE:
                needs.append(transformers[0].element)
            below = Section(low, low not in THREE_WIRE, low == "split")
        else:
            below = above
            if above is section:
                needs += [b.element for b in group if len(b.ends[0].nodes) < 3]
        below.buses.append(lower)
        tree.section[lower] = below
        if below is section:
            needs += neutral_used.get(lower, ())
    section.grounded = bool(needs)
