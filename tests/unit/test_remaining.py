"""Until when a topic keeps what was forgotten, by the settings that it has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from trieflow.remaining import left_in

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = 3_600_000
TIMED = {"cleanup.policy": "delete", "retention.ms": str(4 * HOUR), "segment.ms": str(HOUR)}
COMPACTED = {
    "cleanup.policy": "compact",
    "max.compaction.lag.ms": str(HOUR),
    "delete.retention.ms": str(2 * HOUR),
}


def test_a_record_stays_until_its_segment_is_closed_and_has_expired() -> None:
    left = left_in("t", "it", TIMED, NOW)
    assert left.until == NOW + timedelta(hours=5, minutes=5)
    assert not left.needs_writes


def test_an_old_value_stays_until_it_is_compacted_and_the_key_until_the_tombstone_goes() -> None:
    left = left_in("t", "it", COMPACTED, NOW)
    assert (left.until, left.key_until) == (NOW + timedelta(hours=1), NOW + timedelta(hours=3))
    assert left.needs_writes


@pytest.mark.parametrize(
    "config",
    [
        TIMED | {"retention.ms": "-1"},
        TIMED | {"segment.ms": str(2**63 - 1)},
        COMPACTED | {"max.compaction.lag.ms": str(2**63 - 1)},
    ],
)
def test_what_never_expires_by_itself_is_told_so(config: dict[str, str]) -> None:
    assert left_in("t", "it", config, NOW).until is None
