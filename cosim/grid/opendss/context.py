"""OpenDSS contexts that leave the process, the disk and the desktop alone."""

from __future__ import annotations

from typing import Any


def new_context() -> Any:
    """A new OpenDSS context.

    The engine notes the working directory when it is loaded. Unless told otherwise *before* a context is made, making
    one moves the process back to that directory; the switch is one for all contexts.
    """
    import opendssdirect  # it loads the engine, for which only those wait who have a circuit

    opendssdirect.dss.Basic.AllowChangeDir(False)
    dss: Any = opendssdirect.dss.NewContext()
    dss.Basic.AllowEditor(False)
    dss.Basic.AllowForms(False)
    dss.Basic.AllowDOScmd(False)
    return dss
