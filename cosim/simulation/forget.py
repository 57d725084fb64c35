"""Letting go of what libraries keep alive after a run: models in Mesa, circuits in OpenDSS.

Both keep a table from each model or context to something that refers to it in turn, so nothing in it is ever collected:
8 MB a run. What was made in a block is taken out of these tables when the block ends.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator, MutableMapping
from typing import Any

import mesa
from dss import CffiApiUtil
from dss_python_backend import events
from opendssdirect.OpenDSSDirect import OpenDSSDirect

_COLLECT_EVERY = 10
_lock = threading.Lock()
_open = 0
_known: list[set[Any]] = []
_contexts: list[Any] = []
_runs = 0


def _table(owner: Any, name: str) -> MutableMapping[Any, Any]:
    """A table of a library, or an empty one where another version of it has none."""
    found = getattr(owner, name, None)
    return found if isinstance(found, MutableMapping) else {}


def _models() -> MutableMapping[Any, Any]:
    return _table(mesa.Agent, "_ids")


def _circuits() -> tuple[MutableMapping[Any, Any], ...]:
    return _table(OpenDSSDirect, "_ctx_to_dss"), _table(CffiApiUtil, "_ctx_to_util")


@contextlib.contextmanager
def forgetting() -> Iterator[None]:
    """Let go of the models and circuits made in a block; memory is given back every tenth time.

    Blocks may be nested and may run in several threads: what was made since the first of them began is let go of when
    the last one ends.
    """
    global _open
    with _lock:
        if not _open:
            _known[:] = set(_models()), set(_circuits()[-1])
        _open += 1
    try:
        yield
    finally:
        with _lock:
            _open -= 1
            if not _open:
                _let_go()


def _let_go() -> None:
    global _runs
    models, circuits = _models(), _circuits()
    earlier, known = _known
    made = [m for m in models if m not in earlier]
    for model in made:
        del models[model]
    for context in [c for c in circuits[-1] if c not in known]:
        _contexts.append(context)
        for table in circuits:
            table.pop(context, None)
    _known.clear()
    _runs += bool(made)
    if _runs >= _COLLECT_EVERY:
        _runs = 0
        _collect()


def _collect() -> None:
    """Free what was let go of. A circuit takes back its callbacks as it goes, for which its manager is still needed."""
    gc.collect()
    managers = _table(getattr(events, "EventCallbackManager", None), "_ctx_to_manager")
    while _contexts:
        managers.pop(_contexts.pop(), None)
