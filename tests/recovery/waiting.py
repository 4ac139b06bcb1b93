"""Waiting for what must come true."""

from __future__ import annotations

import time
from collections.abc import Callable

POLL_S = 0.05


def eventually(condition: Callable[[], object], timeout: float, *, what: str) -> None:
    """Wait until the condition holds. Raises AssertionError when it never does."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"within {timeout:.0f} s it never came true that {what}"
        time.sleep(POLL_S)
