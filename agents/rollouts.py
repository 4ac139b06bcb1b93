"""The learner's part in a rollout: it alone writes who serves whom, in its transactions."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import structlog

from agents.model_log import RolloutLog
from agents.outbox import Outgoing
from agents.rollout import asked_rollout, next_rollout, step_of
from state.clicks.trial import Step, TrialCounts
from streams.events.models import ADAPTER_MODEL, ROLLOUT_REQUEST, AdapterRollout, RolloutRequest
from streams.headers import TYPES, cloud_event
from streams.settings import Settings

log = structlog.get_logger()

SOURCE = "trieflow/learner"
_LOOK_S = 0.5
_FINISH_SHARE = 0.05


class Rollouts:
    """Follows `models`, and says what is to be written next. One thread at a time decides."""

    def __init__(self, settings: Settings, models: RolloutLog | None = None) -> None:
        self._settings = settings
        self._models = models or RolloutLog(settings)
        self._written: AdapterRollout | None = None
        self._looked_at = 0.0
        self._finished_at = 0.0
        self._known: tuple[int, RolloutRequest | None] = (0, None)
        self._answering: RolloutRequest | None = None
        self._answered: RolloutRequest | None = None

    def start(self) -> None:
        self._models.start()

    def stop(self) -> None:
        self._models.stop()

    @property
    def failure(self) -> Exception | None:
        return self._models.failure

    @property
    def current(self) -> AdapterRollout | None:
        """How things stand: what was written last may not have been read yet."""
        read, written = self._models.rollout, self._written
        return written if written is not None and (read is None or read.since < written.since) else read

    @property
    def _asked(self) -> RolloutRequest | None:
        """What somebody wants, unless it is done: its deletion may not have been read yet."""
        asked = self._models.request
        return None if asked == self._answered else asked

    @property
    def step(self) -> Step | None:
        """What has to be counted."""
        return step_of(self.current, self._settings.rollout)

    @property
    def told(self) -> str | None:
        """For people: who serves."""
        current = self.current
        if current is None:
            return None
        tried = f", {current.candidate} in {current.share:.0%}" if current.candidate else ""
        return f"{current.active or 'none'}{tried}"

    def look(self) -> bool:
        """Whether there is something new to decide by: a bundle, a request, sessions that may have ended.

        It looks twice a second; in between there is not.
        """
        now = time.monotonic()
        if now - self._looked_at < _LOOK_S:
            return False
        self._looked_at = now
        every = max(_LOOK_S, _FINISH_SHARE * self._settings.rollout.session_s)
        counting = self.step is not None and now - self._finished_at >= every
        return counting or self._known != (len(self._models.adapters), self._asked)

    def decide(self, counts: TrialCounts | None) -> tuple[list[Outgoing], AdapterRollout | None]:
        """The records to write, and how things stand then; None: nothing changes."""
        self._finished_at = time.monotonic()
        asked, adapters = self._asked, dict(self._models.adapters)
        self._known, self._answering = (len(adapters), asked), asked
        settings, now = self._settings.rollout, datetime.now(UTC)
        if asked is not None:
            decided: AdapterRollout | None = asked_rollout(
                self.current, asked, adapters=adapters, settings=settings, now=now
            )
        else:
            decided = next_rollout(self.current, adapters=adapters, counts=counts, settings=settings, now=now)
        if decided is None:
            return [], None
        records = [self._record(ADAPTER_MODEL, decided.to_json())]
        if asked is not None:
            records.append(self._record(ROLLOUT_REQUEST, None))
        return records, decided

    def decided(self, rollout: AdapterRollout | None) -> None:
        """It was written."""
        self._answered = self._answering or self._answered
        if rollout is not None:
            self._written = rollout
            log.info(
                "rollout",
                active=rollout.active,
                candidate=rollout.candidate,
                share=rollout.share,
                reason=rollout.reason,
            )

    def _record(self, key: str, value: bytes | None) -> Outgoing:
        headers = cloud_event(event_type=TYPES["models"], source=SOURCE)
        return Outgoing(self._settings.topic("models"), key.encode(), value, headers, 0)
