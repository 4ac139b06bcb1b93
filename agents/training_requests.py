"""When a training is due, and the request for it: the window, as the offsets that the learner has taken in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from state.clicks.ledger_rows import LedgerState
from streams.events.training import OffsetRange, Reason, TrainingRequest
from streams.records import end_offset
from streams.settings import Settings, TrainingSettings

TOPICS = ("impressions", "feedback")


def due(state: LedgerState, settings: TrainingSettings) -> tuple[str, Reason] | None:
    """The run that is due, None when none is. Notes it in the state.

    Its name follows from the clicks or the hours alone: a learner that reads the logs again asks for the same runs,
    which have ended.
    """
    first = state.trained_clicks == 0
    wanted = settings.first_clicks if first else state.trained_clicks + settings.every_clicks
    if state.accepted >= wanted:
        behind = (state.accepted - wanted) // settings.every_clicks * settings.every_clicks
        state.trained_clicks, state.trained_at = wanted + behind, state.newest
        return f"clicks-{state.trained_clicks}", "clicks"
    if settings.every_h is None or state.accepted < settings.first_clicks:
        return None
    if state.newest - state.trained_at < settings.every_h * 3_600:
        return None
    state.trained_at = state.newest
    return f"schedule-{int(state.newest)}", "schedule"


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
