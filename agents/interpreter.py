"""Settings of the interpreter: for threads that must answer while others work, and for what makes many objects."""

from __future__ import annotations

import gc
import sys

_SWITCH_S = 0.002
"""A thread that waits for the interpreter asks for it after so long; a query waits a few dozen times. Much less
does harm where there are more threads than cores: who gets the interpreter then waits for a core, and holds it."""

_YOUNG = 50_000
"""New containers, less those that went, before a search among them; they are a few MiB."""
_OLDER = (10, 10)


def favour_answers() -> None:
    """Call it when what stays is in memory: it is not looked through again for garbage."""
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()


def collect_seldom() -> None:
    """For who makes many objects of which few are garbage that only a search finds: decoded events, rows.

    With the thresholds that Python begins with, a learner spends a quarter of its time on searches in vain.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG, *_OLDER)
