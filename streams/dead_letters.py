"""Dead letters: unusable bytes, verbatim, with their address and cause (KIP-1034 header names)."""

from __future__ import annotations

import traceback

from streams.errors import DataError
from streams.headers import Headers
from streams.records import Record
from streams.settings import KIB, MIB

ERROR_HEADER_PREFIX = "__streams.errors."
ATTEMPTS, STAGE, TRUNCATED = "x-attempts", "x-stage", "x-truncated-from"

VERBATIM_LIMIT = 4 * MIB + 512 * KIB
"""Bytes of key, value and headers that a dead letter keeps as they came; its topic takes a little more."""
_REMAINDER = 64 * KIB
_HEADER_LIMIT, _NAME_LIMIT = 4_000, 250
_ATTEMPT_DIGITS = 6


def dead_letter(
    record: Record, error: DataError, *, stage: str
) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers of a dead letter: all as it came, then where it came from and why it is here.

    A record over `VERBATIM_LIMIT` (compression brings such through the limit of a topic) leaves only the
    beginnings of its parts, and the header `x-truncated-from` tells the size of its value.
    """
    key, value = record.key, record.value
    kept = [(name, content) for name, content in record.headers if not is_error_header(name)]
    if _size(record, kept) > VERBATIM_LIMIT:
        kept = [
            (name[:_NAME_LIMIT], content[:_HEADER_LIMIT])
            for name, content in kept[: _REMAINDER // _HEADER_LIMIT]
        ]
        kept.append((TRUNCATED, str(len(value or b"")).encode()))
        key, value = key and key[:_REMAINDER], value and value[:_REMAINDER]
    attempts = (ATTEMPTS, str(_attempts(record) + 1).encode())
    return key, value, [*kept, *_facts(record, error), attempts, (STAGE, stage.encode())]


def is_error_header(name: str) -> bool:
    """True for headers that a replay strips (the attempt count stays)."""
    return name.startswith(ERROR_HEADER_PREFIX) or name in (STAGE, ATTEMPTS)


def _size(record: Record, headers: Headers) -> int:
    parts = [
        record.key,
        record.value,
        *(part for name, content in headers for part in (name.encode(), content)),
    ]
    return sum(len(part) for part in parts if part is not None)


def _attempts(record: Record) -> int:
    """How often it was tried before. A stranger may have written anything there."""
    text = next((content for name, content in record.headers if name == ATTEMPTS), b"")
    return int(text) if text.isdigit() and len(text) <= _ATTEMPT_DIGITS else 0


def _facts(record: Record, error: DataError) -> Headers:
    cause = error.__cause__
    facts = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "exception": error.code,
        "message": error.message,
        "stacktrace": "".join(traceback.format_exception(cause)) if cause else "",
    }
    return [
        (ERROR_HEADER_PREFIX + name, text.encode("utf-8", "replace")[:_HEADER_LIMIT])
        for name, text in facts.items()
    ]
