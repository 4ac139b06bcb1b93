"""Settings of the interpreter for a process whose threads must answer while others work."""

from __future__ import annotations

import gc
import sys

_SWITCH_S = 0.002
"""A thread that waits for the interpreter asks for it after so long; a query waits a few dozen times. Much less
does harm where there are more threads than cores: who gets the interpreter then waits for a core, and holds it."""


def favour_answers() -> None:
    """Call it when what stays is in memory: it is not looked through again for garbage."""
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
