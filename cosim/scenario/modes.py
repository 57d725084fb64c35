"""The modes of coordination by name: the one list that files, commands and figures go by."""

from __future__ import annotations

from typing import Literal, get_args

Mode = Literal["uncoordinated", "decentralized", "welfare", "centralized"]
MODES: tuple[Mode, ...] = get_args(Mode)
"""Each is a module of :mod:`cosim.coordination`."""
