"""Following `training`: which runs are asked for, and how far they are."""

from __future__ import annotations

from agents.following import Follower
from streams.events.training import ENDED, TRAINING_EVENT, TrainingProgress, TrainingRequest
from streams.records import Record
from streams.settings import Settings


class TrainingLog(Follower):
    """`requests` in the order in which they came, `progress` by run: the newest."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, "training")
        self.requests: dict[str, TrainingRequest] = {}
        self.progress: dict[str, TrainingProgress] = {}

    def take(self, record: Record) -> None:
        event = TRAINING_EVENT.validate_json(record.value or b"")
        if isinstance(event, TrainingRequest):
            self.requests.setdefault(event.run, event)
        else:
            self.progress[event.run] = event

    @property
    def next(self) -> TrainingRequest | None:
        """The newest request, unless its run has ended."""
        newest = next(reversed(self.requests.values()), None)
        return None if newest is None or self._has_ended(newest.run) else newest

    @property
    def overtaken(self) -> list[str]:
        """Runs that have not ended and that a newer request overtakes: it has what they have."""
        return [run for run in [*self.requests][:-1] if not self._has_ended(run)]

    def _has_ended(self, run: str) -> bool:
        progress = self.progress.get(run)
        return progress is not None and progress.stage in ENDED
