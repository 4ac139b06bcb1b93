"""Places where tests kill the process: `TRIEFLOW_CRASH_AT=5-6:3` dies at the third passage from step 5 to 6.

Callers guard every call by `if __debug__:`, so that `python -O`, which `trieflow up` and the containers use,
compiles the crash points out.
"""

from __future__ import annotations

import os
import signal
import threading

_place, _, _count = os.environ.get("TRIEFLOW_CRASH_AT", "").partition(":")
_remaining = int(_count or 1)
_lock = threading.Lock()


def reached(place: str) -> None:
    """Kill this process with SIGKILL when the environment names this place and the count is used up."""
    global _remaining
    if place != _place:
        return
    with _lock:
        _remaining -= 1
        if _remaining == 0:
            os.kill(os.getpid(), signal.SIGKILL)
