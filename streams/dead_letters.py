"""Dead letters: unusable bytes, verbatim, with their address and cause (KIP-1034 header names)."""

from __future__ import annotations

import traceback
from collections.abc import Iterable

from streams.errors import DataError
from streams.headers import Headers

ERROR_HEADER_PREFIX = "__streams.errors."
ATTEMPTS, STAGE = "x-attempts", "x-stage"
_HEADER_LIMIT = 4_000


def dead_letter_headers(
    *,
    original: Iterable[tuple[str, bytes]],
    topic: str,
    partition: int,
    offset: int,
    error: DataError,
    stage: str,
) -> Headers:
    """The headers of a dead letter: the original ones, then where it came from and why it is here."""
    kept = [(name, value) for name, value in original if not is_error_header(name)]
    attempts = next((int(v) for n, v in original if n == ATTEMPTS and v.isdigit()), 0)
    cause = error.__cause__
    trace = "".join(traceback.format_exception(cause)) if cause else ""
    facts = {
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
        "exception": error.code,
        "message": error.message,
        "stacktrace": trace,
    }
    headers = [(ERROR_HEADER_PREFIX + name, text.encode()[:_HEADER_LIMIT]) for name, text in facts.items()]
    return [*kept, *headers, (ATTEMPTS, str(attempts + 1).encode()), (STAGE, stage.encode())]


def is_error_header(name: str) -> bool:
    """True for headers that a replay strips (the attempt count stays)."""
    return name.startswith(ERROR_HEADER_PREFIX) or name in (STAGE, ATTEMPTS)
