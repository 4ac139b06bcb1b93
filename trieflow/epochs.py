"""The epochs of semantic ids, as `codebooks` tells them, and going back to the one before."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Literal

from pydantic import BaseModel

from agents.epochs import PROVISIONAL, live_epochs, why_not_back
from streams.clients import reader
from streams.errors import TrieflowError
from streams.events.codebooks import (
    ACTIVE_KEY,
    ROLL_BACK_KEY,
    ActiveEpoch,
    CodebookEpoch,
    FitReason,
    RollBack,
    parse_key,
)
from streams.headers import TYPES, cloud_event
from streams.records import Record, read_to_end
from streams.settings import Settings
from trieflow.offsets import partition_count
from trieflow.replies import CLIENT_CONFIG, NoAnswerError
from trieflow.writer import Writer

State = Literal["building", "active", "previous", "retired"]
SOURCE = "trieflow/client"
_POLL_S = 0.2


class EpochLine(BaseModel):
    """An epoch: `leaves` and `documents` when it was fitted, when and why that was; None where it has no tree."""

    epoch: int
    state: State
    leaves: int | None = None
    documents: int | None = None
    fitted_at: datetime | None = None
    reason: FitReason | None = None


@dataclass
class _Topic:
    """What `codebooks` says, record by record. A deleted tree is known for as long as its records stand."""

    active: int = PROVISIONAL
    fitted: set[int] = field(default_factory=set)
    trees: dict[int, EpochLine] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        key = record.key or b""
        named = parse_key(key)
        if key == ACTIVE_KEY.encode():
            self.active = ActiveEpoch.model_validate_json(record.value or b"").epoch
        elif named.epoch is not None and named.is_tree:
            if record.value is None:
                self.fitted.discard(named.epoch)
                self.trees.setdefault(named.epoch, EpochLine(epoch=named.epoch, state="retired"))
            else:
                self.fitted.add(named.epoch)
                self.trees[named.epoch] = _line(CodebookEpoch.model_validate_json(record.value), record)

    def lines(self) -> list[EpochLine]:
        if self.active not in self.trees:
            self.trees[self.active] = EpochLine(epoch=self.active, state="active")
        return [
            line.model_copy(update={"state": self._state(epoch)})
            for epoch, line in sorted(self.trees.items())
        ]

    def _state(self, epoch: int) -> State:
        if epoch == self.active:
            return "active"
        if epoch not in self.fitted or epoch not in live_epochs(self.fitted, self.active):
            return "retired"
        return "building" if epoch > self.active else "previous"


def list_epochs(settings: Settings) -> list[EpochLine]:
    """All epochs that `codebooks` knows of, the oldest first. Raises BrokerError."""
    return _read(settings).lines()


def plan_roll_back(settings: Settings) -> RollBack:
    """What a roll-back would do now. Raises TrieflowError: nothing to go back to, an epoch is being built."""
    topic = _read(settings)
    problem = why_not_back(None, fitted=topic.fitted, active=topic.active)
    if problem is not None:
        raise TrieflowError(problem)
    return RollBack(from_epoch=topic.active, to_epoch=live_epochs(topic.fitted, topic.active)[0])


def roll_back(settings: Settings, asked: RollBack, *, timeout: float) -> None:
    """Ask the curator to go back, and wait until it has.

    Raises TrieflowError when it did not, NoAnswerError when it does not answer (the request stands), BrokerError.
    """
    writer = Writer(settings)
    try:
        sent = writer.send(
            settings.topic("codebooks"),
            key=ROLL_BACK_KEY.encode(),
            value=asked.to_json(),
            headers=cloud_event(event_type=TYPES["codebooks"], source=SOURCE),
        )
    finally:
        writer.close()
    _wait(settings, asked, start=sent.result().offset + 1, timeout=timeout)


def _wait(settings: Settings, asked: RollBack, *, start: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    topic = _Topic(active=asked.from_epoch)
    while time.monotonic() < deadline:
        for record in _records(settings, start):
            start = record.offset + 1
            topic.take(record)
            if record.key == ROLL_BACK_KEY.encode() and record.value is None:
                if topic.active != asked.to_epoch:
                    raise TrieflowError("the curator did not go back: the epochs have changed meanwhile")
                return
        time.sleep(_POLL_S)
    raise NoAnswerError(
        f"no curator answered within {timeout:g} s; the request stands, and the next one that runs carries it out"
    )


def _read(settings: Settings) -> _Topic:
    consumer = reader(settings, **CLIENT_CONFIG)
    try:
        partition_count(consumer, settings, settings.topic("codebooks"))
    finally:
        consumer.close()
    topic = _Topic()
    for record in _records(settings, 0):
        topic.take(record)
    return topic


def _records(settings: Settings, start: int) -> Iterable[Record]:
    topic = settings.topic("codebooks")
    return chain.from_iterable(read_to_end(settings, topic=topic, partition=0, start=start))


def _line(event: CodebookEpoch, record: Record) -> EpochLine:
    return EpochLine(
        epoch=event.epoch,
        state="retired",
        leaves=event.leaves,
        documents=event.fitted_on,
        fitted_at=datetime.fromtimestamp(record.timestamp_ms / 1_000, UTC),
        reason=event.reason,
    )
