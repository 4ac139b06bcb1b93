"""A window of impressions and feedback, read and joined again: what a training learns from, and what judges it.

The same `Ledger` as in the learner joins it, in shards of its own, so whatever the learner refuses is refused here
too. The last sessions are kept apart: they only judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from agents.learner import STRAGGLERS_S
from state.clicks.ledger import Ledger
from state.clicks.rows import ImpressionRow, Remembered
from state.clicks.shard import ClickShard
from streams.codec import decode_body
from streams.errors import DataError
from streams.events.assignments import StampedVector
from streams.events.forgetting import ForgetRequest
from streams.events.impressions import Feedback, Impression
from streams.events.training import OffsetRange
from streams.records import Record, read_batches, read_to_end
from streams.settings import Settings

Floats = NDArray[np.float32]
_EVERYTHING = 1_000_000_000
_NEVER = 1e15
"""Seconds since the epoch: these shards do not live so long."""
OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class Answers:
    """Impressions with what people did about them, by query id in the order of the log; vectors by query key."""

    shard: ClickShard
    rows: dict[str, ImpressionRow]
    vectors: dict[str, Floats]

    @classmethod
    def of(cls, shard: ClickShard) -> Answers:
        remembered = dict(shard.remembered())
        found = sorted(shard.impressions(), key=lambda item: item[1].number)
        return cls(
            shard, dict(found), {key: _vector(each) for key, each in remembered.items() if each.vector}
        )

    def typed(self) -> Iterator[tuple[str, ImpressionRow]]:
        """Those of a single text, which alone an adapter moves."""
        return ((name, row) for name, row in self.rows.items() if row.typed and row.query in self.vectors)

    def before(self, row: ImpressionRow) -> ImpressionRow | None:
        """The impression of the query that this one rephrased, where its clicks count for that one too."""
        before = self.rows.get(row.previous or "") if row.linked is not None else None
        return before if before is not None and before.typed and before.query in self.vectors else None


@dataclass(frozen=True)
class Window:
    """What is learned from, and what judges."""

    taught: Answers
    held_out: Answers

    def close(self) -> None:
        self.taught.shard.close()
        self.held_out.shard.close()


def read_window(
    settings: Settings,
    window: Sequence[OffsetRange],
    folder: Path,
    *,
    stamp: str,
    on_progress: OnProgress = lambda share: None,
) -> Window:
    """Read a window into new shards below `folder`. Offsets that are past retention are left out.

    Raises BrokerError, StateError.
    """
    twice = [part for part in window if part.topic == "impressions"]
    whole = sum(part.end - part.start for part in [*window, *twice]) or 1
    read = 0

    def told(batch: Sequence[Record]) -> Sequence[Record]:
        nonlocal read
        read += len(batch)
        on_progress(min(1.0, read / whole))
        return batch

    held_out = _held_out(settings, window, told)
    shards = [_shard(settings, folder / name, stamp) for name in ("taught", "held-out")]
    for shard in shards:
        _forget(settings, shard)
    for part in sorted(window, key=lambda part: part.topic != "impressions"):
        for batch in _batches(settings, part):
            ledgers = [shard.ledger() for shard in shards]
            for record in told(batch):
                _take(ledgers[(record.key or b"").decode() in held_out], part.topic, record)
            for shard, ledger in zip(shards, ledgers, strict=True):
                shard.write(ledger, applied={})
    return Window(*map(Answers.of, shards))


def _held_out(
    settings: Settings, window: Sequence[OffsetRange], told: Callable[[Sequence[Record]], Sequence[Record]]
) -> set[str]:
    """Query ids of the sessions that began last."""
    began: dict[str, str] = {}
    session_of: dict[str, str] = {}
    for part in (part for part in window if part.topic == "impressions"):
        for batch in _batches(settings, part):
            for record in told(batch):
                query_id, session, at = _session(record)
                session_of[query_id] = session
                began[session] = min(at, began.get(session, at))
    ordered = sorted(began, key=lambda session: (began[session], session))
    kept = set(ordered[len(ordered) - round(settings.training.held_out * len(ordered)) :])
    return {query_id for query_id, session in session_of.items() if session in kept}


def _session(record: Record) -> tuple[str, str, str]:
    """Query id, session and time of an impression; without a session each query is one."""
    query_id = (record.key or b"").decode()
    try:
        body = orjson.loads(record.value or b"{}")
    except orjson.JSONDecodeError:
        body = {}
    return query_id, body.get("session_id") or f"query/{query_id}", str(body.get("at", ""))


def _take(ledger: Ledger, topic: str, record: Record) -> None:
    """Bad records have been dead letters since the learner read them."""
    model = Impression if topic == "impressions" else Feedback
    try:
        body = decode_body(record.value or b"", model=model, topic=topic, headers=record.incoming)
    except DataError:
        return
    if isinstance(body, Impression):
        ledger.shown(body.query_id, body)
    elif isinstance(body, Feedback):
        written = record.timestamp_ms / 1_000
        ledger.given(body.query_id, body, written if body.at is None else min(written, body.at.timestamp()))


def _forget(settings: Settings, shard: ClickShard) -> None:
    """Refuse what somebody asked to forget: no training learns from it any more, whatever its window holds."""
    ledger = shard.ledger()
    for partition in range(settings.partitions):
        topic = settings.topic("forget")
        for batch in read_to_end(settings, topic=topic, partition=partition, start=0):
            for record in batch:
                _forget_from(record, ledger, until=_NEVER)
    shard.write(ledger, applied={})


def _forget_from(record: Record, ledger: Ledger, *, until: float) -> None:
    """Carry a request out; a bad one has been a dead letter since the learner read it."""
    try:
        body = decode_body(record.value or b"", model=ForgetRequest, topic="forget", headers=record.incoming)
    except DataError:
        return
    if body is not None:
        ledger.forget(body, at=record.timestamp_ms / 1_000 + STRAGGLERS_S, until=until)


def _batches(settings: Settings, part: OffsetRange) -> Iterator[list[Record]]:
    return read_batches(
        settings, topic=settings.topic(part.topic), partition=part.partition, start=part.start, end=part.end
    )


def _shard(settings: Settings, folder: Path, stamp: str) -> ClickShard:
    """With room for the whole window: nothing is forgotten here."""
    kept = settings.learning.model_copy(update={"queries": _EVERYTHING, "words": _EVERYTHING})
    return ClickShard(folder, kept, cluster="", stamp=stamp)


def _vector(remembered: Remembered) -> Floats:
    assert remembered.vector is not None
    return StampedVector.model_construct(**remembered.vector).array().astype(np.float32)
