"""Dead letters: the bytes as they came, the address, the cause, and never too large for their topic."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.dead_letters import (
    ATTEMPTS,
    ERROR_HEADER_PREFIX,
    STAGE,
    TRUNCATED,
    VERBATIM_LIMIT,
    dead_letter,
    is_error_header,
)
from streams.errors import DataError
from streams.records import Record
from streams.settings import KIB, MIB
from streams.topics import DEAD_LETTER_LIMIT

ERROR = DataError("not_json", "the body is not JSON")


def record(
    *,
    key: bytes | None = b"boot-1",
    value: bytes | None = b"{",
    headers: list[tuple[str, bytes]] | None = None,
) -> Record:
    return Record("trieflow.documents", 3, 941, key, value, headers or [])


def size(key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> int:
    return len(key or b"") + len(value or b"") + sum(len(n.encode()) + len(content) for n, content in headers)


def test_everything_stays_as_it_came_and_the_cause_is_told_beside_it():
    came = [("ce_id", b"1"), ("ce_id", b"2"), ("x", b"\xff")]
    key, value, headers = dead_letter(record(value=b"\x00\xff", headers=came), ERROR, stage="decode")
    assert (key, value) == (b"boot-1", b"\x00\xff")
    assert headers[:3] == came
    assert dict(headers[3:]) == {
        "__streams.errors.topic": b"trieflow.documents",
        "__streams.errors.partition": b"3",
        "__streams.errors.offset": b"941",
        "__streams.errors.exception": b"not_json",
        "__streams.errors.message": b"the body is not JSON",
        "__streams.errors.stacktrace": b"",
        ATTEMPTS: b"1",
        STAGE: b"decode",
    }


def test_what_has_no_value_has_none_afterwards():
    assert dead_letter(record(key=None, value=None), ERROR, stage="decode")[:2] == (None, None)


def test_the_stack_is_that_of_the_cause():
    error = DataError("internal", "the encoder failed")
    error.__cause__ = ZeroDivisionError("by nought")
    headers = dict(dead_letter(record(), error, stage="encode")[2])
    assert b"ZeroDivisionError: by nought" in headers["__streams.errors.stacktrace"]


def test_a_record_that_fails_again_counts_up_and_tells_the_new_cause_alone():
    _, value, headers = dead_letter(record(), ERROR, stage="decode")
    again = Record("trieflow.documents", 3, 1_000, b"boot-1", value, headers)
    _, _, second = dead_letter(again, DataError("timeout", "no answer"), stage="fetch")
    assert len({name for name, _ in second}) == len(second) == len(headers)
    told = dict(second)
    assert (told[ATTEMPTS], told[STAGE]) == (b"2", b"fetch")
    assert (told["__streams.errors.exception"], told["__streams.errors.offset"]) == (b"timeout", b"1000")


@pytest.mark.parametrize("attempts", [b"", b"-1", b"many", b"1.5", b"9" * 5_000, "٣".encode()])
def test_a_count_that_a_stranger_wrote_is_none(attempts: bytes):
    headers = dict(dead_letter(record(headers=[(ATTEMPTS, attempts)]), ERROR, stage="decode")[2])
    assert headers[ATTEMPTS] == b"1"


def test_a_long_message_is_cut_so_that_it_fits_into_a_header():
    headers = dict(dead_letter(record(), DataError("internal", "é" * 100_000), stage="encode")[2])
    assert len(headers[ERROR_HEADER_PREFIX + "message"]) == 4_000


def test_a_record_of_the_limit_is_kept_verbatim():
    value = b"x" * (VERBATIM_LIMIT - len(b"boot-1"))
    kept, headers = dead_letter(record(value=value), ERROR, stage="decode")[1:]
    assert kept == value
    assert TRUNCATED not in dict(headers)


OVERSIZE: dict[str, Callable[[], Record]] = {
    "value": lambda: record(value=b"v" * (24 * MIB)),
    "key": lambda: record(key=b"k" * (24 * MIB)),
    "header": lambda: record(headers=[("note", b"h" * (24 * MIB))]),
    "name of a header": lambda: record(headers=[("n" * (24 * MIB), b"")]),
    "number of headers": lambda: record(headers=[("note", b"h" * 100)] * 200_000),
    "all of it": lambda: record(
        key=b"k" * (2 * MIB), value=b"v" * (2 * MIB), headers=[("n", b"h" * (2 * MIB))]
    ),
}


@pytest.mark.parametrize("part", OVERSIZE)
def test_a_larger_record_leaves_its_beginnings_and_fits(part: str):
    came = OVERSIZE[part]()
    letter = dead_letter(came, ERROR, stage="decode")
    key, value, headers = letter
    assert size(*letter) <= 256 * KIB
    assert came.key is not None
    assert came.key.startswith(key or b"-")
    assert came.value is not None
    assert came.value.startswith(value or b"-")
    assert dict(headers)[TRUNCATED] == str(len(came.value)).encode()


def test_the_largest_letter_kept_verbatim_fits_into_its_topic():
    error = DataError("internal", "m" * 10_000)
    error.__cause__ = ValueError("c" * 10_000)
    letter = dead_letter(record(value=b"x" * (VERBATIM_LIMIT - 10)), error, stage="encode")
    assert size(*letter) + 16 * KIB < DEAD_LETTER_LIMIT


def test_what_a_replay_takes_off_is_what_a_letter_puts_on():
    _, _, headers = dead_letter(record(headers=[("ce_id", b"1")]), ERROR, stage="decode")
    assert [name for name, _ in headers if not is_error_header(name)] == ["ce_id"]
