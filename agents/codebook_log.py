"""Following the `codebooks` topic: which epochs exist, which is active, and their fitted trees."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog
from confluent_kafka import TopicPartition

from agents.content_store import ContentStore
from models.codebooks import Codebook
from streams.clients import reader
from streams.errors import ModelError
from streams.events.base import LogPosition
from streams.events.codebooks import ACTIVE_KEY, ActiveEpoch, CodebookEpoch, epoch_key
from streams.records import Record, raise_on_error
from streams.settings import Settings

log = structlog.get_logger()

PROVISIONAL = 0
"""Epoch 0 has no tree: its leaves are filled one after the other."""


@dataclass(frozen=True)
class Codebooks:
    """What `codebooks` says up to `offset`: an immutable snapshot, swapped whole."""

    trees: Mapping[int, Codebook] = field(default_factory=dict)
    active: int = PROVISIONAL
    switch_at: tuple[LogPosition, ...] = ()
    offset: int = -1

    def live_epochs(self) -> tuple[int, ...]:
        """Epochs in which documents need ids: the active one, the one before it (roll-back), newer ones."""
        known = sorted({PROVISIONAL, *self.trees})
        position = known.index(self.active)
        return tuple(known[max(0, position - 1) :])

    @property
    def newest(self) -> int:
        return max(self.trees, default=PROVISIONAL)


class CodebookLog:
    """A thread that follows the topic. `current` is read without locks; `on_change` runs on the thread."""

    def __init__(
        self,
        settings: Settings,
        store: ContentStore,
        *,
        stamp: str,
        on_change: Callable[[Codebooks], None] = lambda codebooks: None,
    ) -> None:
        self.current = Codebooks()
        self.failure: Exception | None = None
        self._settings = settings
        self._store = store
        self._stamp = stamp
        self._on_change = on_change
        self._stopping = threading.Event()
        self._caught_up = threading.Condition()
        self._next = 0
        self._thread = threading.Thread(target=self._run, name="codebooks", daemon=True)

    def start(self) -> None:
        """Start following, and wait until everything that stands in the topic now is read."""
        self._thread.start()
        self.catch_up()

    def catch_up(self, timeout_s: float = 60.0) -> None:
        """Wait until all that stands in the topic now is read. Raises ModelError when it cannot be."""
        consumer = reader(self._settings)
        try:
            partition = TopicPartition(self._settings.topic("codebooks"), 0)
            _, end = consumer.get_watermark_offsets(partition, timeout=timeout_s)
        finally:
            consumer.close()
        with self._caught_up:
            done = self._caught_up.wait_for(lambda: self._next >= end or self.failure, timeout_s)
        if self.failure is not None:
            raise self.failure
        if not done:
            raise ModelError(f"the codebooks up to offset {end} could not be read within {timeout_s:.0f} s")

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        consumer = reader(self._settings)
        try:
            consumer.assign([TopicPartition(self._settings.topic("codebooks"), 0, 0)])
            while not self._stopping.is_set():
                message = consumer.poll(0.2)
                if message is None:
                    continue
                if not raise_on_error(message):
                    self._take(Record.of(message))
                else:
                    # The end of the partition; its last record may be a commit marker that never arrives.
                    self._advance(message.offset() or 0)
        except Exception as error:
            log.error("codebooks cannot be followed", exc_info=error)
            self.failure = error
            self._advance(self._next)
        finally:
            consumer.close()

    def _advance(self, position: int) -> None:
        with self._caught_up:
            self._next = max(self._next, position)
            self._caught_up.notify_all()

    def _take(self, record: Record) -> None:
        key, value = (record.key or b"").decode(), record.value
        current = self.current
        if key == ACTIVE_KEY and value is not None:
            event = ActiveEpoch.model_validate_json(value)
            changed = replace(current, active=event.epoch, switch_at=tuple(event.switch_at))
        elif key.startswith("epoch/") and "/leaf/" not in key:
            changed = replace(current, trees=self._trees_with(key, value))
        else:
            changed = current
        self.current = replace(changed, offset=record.offset)
        log.info("codebooks", key=key, offset=record.offset, active=self.current.active)
        self._on_change(self.current)

    def _trees_with(self, key: str, value: bytes | None) -> dict[int, Codebook]:
        trees = dict(self.current.trees)
        if value is None:
            return {epoch: tree for epoch, tree in trees.items() if epoch_key(epoch) != key}
        event = CodebookEpoch.model_validate_json(value)
        if event.stamp != self._stamp:
            raise ModelError(
                f"codebook epoch {event.epoch} was fitted on {event.stamp}, this encoder is {self._stamp}: "
                "use that encoder, or another prefix and data folder"
            )
        trees[event.epoch] = self._load(event)
        return trees

    def _load(self, event: CodebookEpoch) -> Codebook:
        # The curator writes the blob before the event; a remote store may show it a moment later.
        for wait_s in (0.1, 0.5, 2.0, 0.0):
            data = self._store.get(event.uri)
            if data is not None:
                break
            time.sleep(wait_s)
        if data is None:
            raise ModelError(
                f"codebook epoch {event.epoch} is missing at {event.uri}: all workers must share one content "
                "store (setting content.store), and it must be kept as safe as Kafka's log"
            )
        if hashlib.sha256(data).hexdigest() != event.sha256:
            raise ModelError(f"codebook epoch {event.epoch} at {event.uri} does not have its checksum")
        return Codebook.from_bytes(data)
