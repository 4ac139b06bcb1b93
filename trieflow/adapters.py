"""What clicks taught, as `models` and `training` tell it: adapters and who they serve; asking for the next step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Literal

from confluent_kafka import TopicPartition
from pydantic import BaseModel

from streams.clients import reader
from streams.errors import TrieflowError
from streams.events.models import (
    ADAPTER_MODEL,
    ROLLOUT_REQUEST,
    AdapterRollout,
    ModelBundle,
    RolloutRequest,
    Verdict,
)
from streams.events.training import (
    ENDED,
    TRAINING_EVENT,
    OffsetRange,
    TrainingProgress,
    TrainingRequest,
)
from streams.headers import TYPES, cloud_event
from streams.records import Record, read_to_end
from streams.settings import Settings
from trieflow.offsets import first_and_end, partition_count
from trieflow.replies import CLIENT_CONFIG, NoAnswerError
from trieflow.writer import Writer

State = Literal["active", "candidate", "previous", "given up", "refused", "waiting", "past"]
SOURCE = "trieflow/client"
_POLL_S = 0.2
_WINDOW = ("impressions", "feedback", "assignments")


class AdapterLine(BaseModel):
    """An adapter: share is that of the sessions which a candidate takes part in."""

    version: str
    state: State
    verdict: Verdict | None
    share: float | None = None
    trained_at: datetime
    report: str | None
    figures: dict[str, float]


@dataclass
class _Models:
    """What `models` says of adapters, record by record."""

    bundles: dict[str, tuple[ModelBundle, datetime]] = field(default_factory=dict)
    rollout: AdapterRollout | None = None
    request: RolloutRequest | None = None

    def take(self, record: Record) -> None:
        key = (record.key or b"").decode()
        if key == ADAPTER_MODEL and record.value is not None:
            self.rollout = AdapterRollout.model_validate_json(record.value)
        elif key == ROLLOUT_REQUEST:
            self.request = None if record.value is None else RolloutRequest.model_validate_json(record.value)
        elif key.startswith(f"{ADAPTER_MODEL}@") and record.value is not None:
            bundle = ModelBundle.model_validate_json(record.value)
            at = datetime.fromtimestamp(record.timestamp_ms / 1_000, UTC)
            self.bundles[bundle.version] = bundle, at

    def lines(self) -> list[AdapterLine]:
        return [
            AdapterLine(
                version=version,
                state=self._state(bundle),
                verdict=bundle.verdict,
                share=self.rollout.share if self.rollout and version == self.rollout.candidate else None,
                trained_at=at,
                report=bundle.report,
                figures=bundle.figures,
            )
            for version, (bundle, at) in self.bundles.items()
        ]

    def _state(self, bundle: ModelBundle) -> State:
        rollout, version = self.rollout, bundle.version
        if rollout is not None:
            for state, named in (
                ("active", rollout.active),
                ("candidate", rollout.candidate),
                ("previous", rollout.previous),
            ):
                if version == named:
                    return state  # type: ignore[return-value]
            if version in rollout.given_up:
                return "given up"
        if bundle.verdict == "refused":
            return "refused"
        return "waiting" if version == [*self.bundles][-1] else "past"


def list_adapters(settings: Settings) -> list[AdapterLine]:
    """All adapters that were trained, the oldest first. Raises BrokerError."""
    return _models(settings).lines()


def show_adapter(settings: Settings, version: str) -> AdapterLine:
    """One of them. Raises TrieflowError when there is none of this version."""
    lines = {line.version: line for line in list_adapters(settings)}
    if version not in lines:
        known = ", ".join(lines) or "none was trained yet: `trieflow models train`"
        raise TrieflowError(f"there is no adapter {version}; known are: {known}")
    return lines[version]


def plan_promotion(settings: Settings, version: str, *, canary: bool, force: bool) -> RolloutRequest:
    """What a promotion would ask for. Raises TrieflowError for what the gates refused, unless forced."""
    line = show_adapter(settings, version)
    if line.verdict == "refused" and not force:
        raise TrieflowError(
            f"the gates refused {version}: read its report by `trieflow models show {version}`; "
            "--force lets it serve nevertheless"
        )
    return RolloutRequest(action="try" if canary else "promote", version=version, at=datetime.now(UTC))


def plan_roll_back(settings: Settings) -> tuple[RolloutRequest, str]:
    """What a roll-back would ask for, and what it would do. Raises TrieflowError: there is nothing to take back."""
    rollout = _models(settings).rollout
    if rollout is None or (rollout.candidate is None and rollout.active is None):
        raise TrieflowError("no adapter serves, so there is nothing to take back")
    given_up = rollout.candidate or rollout.active
    left = rollout.active if rollout.candidate else rollout.previous
    served = f"adapter {left} serves" if left else "queries are taken as they are encoded"
    return RolloutRequest(
        action="roll_back", at=datetime.now(UTC)
    ), f"adapter {given_up} is given up; {served}"


def ask_rollout(settings: Settings, request: RolloutRequest, *, timeout: float) -> AdapterRollout:
    """Ask the learner, and wait until it has carried the request out; how things stand then.

    Raises NoAnswerError when it does not answer (the request stands), BrokerError.
    """
    _send(settings, "models", ROLLOUT_REQUEST, request.to_json())
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        models = _models(settings)
        if models.request is None and models.rollout is not None:
            return models.rollout
        time.sleep(_POLL_S)
    raise NoAnswerError(
        f"no learner answered within {timeout:g} s; the request stands, and the next one that runs carries it out"
    )


def whole_window(settings: Settings) -> list[OffsetRange]:
    """All that the logs hold now and a training could learn from. Raises BrokerError."""
    consumer = reader(settings, **CLIENT_CONFIG)
    window: list[OffsetRange] = []
    try:
        for name in _WINDOW:
            topic = settings.topic(name)
            for partition in range(partition_count(consumer, settings, topic)):
                first, end = first_and_end(consumer, settings, TopicPartition(topic, partition))
                window.append(OffsetRange(topic=name, partition=partition, start=first, end=end))
    finally:
        consumer.close()
    return window


def ask_training(settings: Settings, window: list[OffsetRange] | None = None) -> TrainingRequest:
    """Ask the trainer for an adapter from a window, by default from all that the logs hold. Raises BrokerError."""
    window = whole_window(settings) if window is None else window
    now = datetime.now(UTC)
    request = TrainingRequest(run=f"command-{now:%Y%m%dT%H%M%S}", reason="command", window=window, at=now)
    _send(settings, "training", request.run, request.to_json())
    return request


def follow_training(
    settings: Settings, run: str, *, on_progress: Callable[[TrainingProgress], None], timeout: float
) -> TrainingProgress:
    """Wait until a run has ended; its last progress. Raises NoAnswerError when nothing is heard of it."""
    heard, start, last = time.monotonic(), 0, None
    while last is None or last.stage not in ENDED:
        for record in _records(settings, "training", start):
            start = record.offset + 1
            event = TRAINING_EVENT.validate_json(record.value or b"")
            if isinstance(event, TrainingProgress) and event.run == run:
                last, heard = event, time.monotonic()
                on_progress(event)
        if time.monotonic() - heard > timeout:
            raise NoAnswerError(
                f"no trainer was heard of for {timeout:g} s; the request stands: `trieflow worker trainer` runs one"
            )
        time.sleep(_POLL_S)
    return last


def progress_line(event: TrainingProgress) -> str:
    """How far a training is, in a few words."""
    left = "" if event.seconds_left is None else f", {event.seconds_left:.0f} s left"
    return f"{event.stage}: {event.done:.0%}{left}"


def _models(settings: Settings) -> _Models:
    consumer = reader(settings, **CLIENT_CONFIG)
    try:
        partition_count(consumer, settings, settings.topic("models"))
    finally:
        consumer.close()
    models = _Models()
    for record in _records(settings, "models", 0):
        models.take(record)
    return models


def _records(settings: Settings, name: str, start: int) -> Iterator[Record]:
    return chain.from_iterable(read_to_end(settings, topic=settings.topic(name), partition=0, start=start))


def _send(settings: Settings, name: str, key: str, value: bytes) -> None:
    writer = Writer(settings)
    try:
        headers = cloud_event(event_type=TYPES[name], source=SOURCE)
        sent = writer.send(settings.topic(name), key=key.encode(), value=value, headers=headers)
    finally:
        writer.close()
    sent.result()
