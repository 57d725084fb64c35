"""The modes of coordination by name: the one list that files, commands and figures go by."""

from __future__ import annotations

from typing import Literal, get_args

Mode = Literal["uncoordinated", "decentralized", "welfare", "centralized", "envelope"]
MODES: tuple[Mode, ...] = get_args(Mode)
"""Each is a module of :mod:`cosim.coordination`."""
COMPARED: tuple[Mode, ...] = tuple(mode for mode in MODES if mode != "envelope")
"""What is compared where no modes are named: those that any scenario can take; envelopes need an agreement."""
