"""When a training is due, and the request for it: the window, as the offsets that the learner has taken in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from state.clicks.ledger_rows import LedgerState
from streams.events.training import OffsetRange, Reason, TrainingRequest
from streams.records import end_offset
from streams.settings import Settings, TrainingSettings

TOPICS = ("impressions", "feedback")
_ASK_EVERY_S = 60.0


class DocumentEvents:
    """How many events `documents` has had, as far as `training.every_documents` wants to know.

    By end offsets: new, changed and deleted documents alike. Kafka is asked once a minute at most.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._count = 0
        self._ask_at = 0.0

    def count(self) -> int:
        """0 while the setting is unset. Raises BrokerError."""
        if self._settings.training.every_documents is not None and time.monotonic() >= self._ask_at:
            topic = self._settings.topic("documents")
            self._count = sum(
                end_offset(self._settings, topic=topic, partition=partition)
                for partition in range(self._settings.partitions)
            )
            self._ask_at = time.monotonic() + _ASK_EVERY_S
        return self._count


def due(state: LedgerState, settings: TrainingSettings, documents: int = 0) -> tuple[str, Reason] | None:
    """The run that is due, None when none is. Notes it in the state. documents: events of documents until now.

    Its name follows from the clicks, hours or documents alone: a learner that reads the logs again asks for the
    same runs, which have ended.
    """
    found = _due(state, settings, documents)
    if found is not None:
        state.trained_at, state.trained_documents = state.newest, documents
    return found


def _due(state: LedgerState, settings: TrainingSettings, documents: int) -> tuple[str, Reason] | None:
    first = state.trained_clicks == 0
    wanted = settings.first_clicks if first else state.trained_clicks + settings.every_clicks
    if state.accepted >= wanted:
        behind = (state.accepted - wanted) // settings.every_clicks * settings.every_clicks
        state.trained_clicks = wanted + behind
        return f"clicks-{state.trained_clicks}", "clicks"
    if state.accepted < settings.first_clicks:
        return None
    if settings.every_h is not None and state.newest - state.trained_at >= settings.every_h * 3_600:
        return f"schedule-{int(state.newest)}", "schedule"
    more = documents - state.trained_documents
    if settings.every_documents is not None and more >= settings.every_documents:
        return f"documents-{documents}", "documents"
    return None


def request(
    settings: Settings, run: str, reason: Reason, applied: Mapping[tuple[str, int], int]
) -> TrainingRequest:
    """applied: by topic and partition, the last offset that counts. Raises BrokerError."""
    window = [
        OffsetRange(topic=name, partition=partition, start=0, end=applied[name, partition] + 1)
        for name in TOPICS
        for partition in range(settings.partitions)
    ]
    topic = settings.topic("assignments")
    window += [
        OffsetRange(
            topic="assignments",
            partition=partition,
            start=0,
            end=end_offset(settings, topic=topic, partition=partition),
        )
        for partition in range(settings.partitions)
    ]
    return TrainingRequest(run=run, reason=reason, window=window, at=datetime.now(UTC))
