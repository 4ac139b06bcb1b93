"""Following the `models` topic: the bundle that serves, loaded and checked."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import structlog
from confluent_kafka import TopicPartition

from models.bundles import Bundle, BundleStore
from streams.clients import reader
from streams.errors import ModelError
from streams.events.models import QUERY_MODEL, ActiveModel
from streams.records import Record, raise_on_error
from streams.settings import Settings

log = structlog.get_logger()

FOLDER = "bundles"
_START_S = 30.0


class ModelLog:
    """A thread that follows the topic. `current` is the bundle that serves, None before there is one.

    A bundle that cannot be used is refused loudly, and the one before goes on serving.
    """

    def __init__(self, settings: Settings, *, stamp: str) -> None:
        self.current: Bundle | None = None
        self.failure: Exception | None = None
        self._settings = settings
        self._stamp = stamp
        self._store = BundleStore(f"{settings.content_store}/{FOLDER}")
        self._stopping = threading.Event()
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="models", daemon=True)

    def start(self) -> None:
        """Follow the topic; returns when what stands there is read, or after half a minute without it."""
        self._thread.start()
        self._caught_up.wait(_START_S)

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            latest: Record | None = None
            for record in self._records():
                if record is None:  # the end: what serves now is loaded, what served before is not
                    self._take(latest)
                    latest = None
                    self._caught_up.set()
                elif record.key == QUERY_MODEL.encode():
                    latest = record
        except Exception as error:
            log.error("models cannot be followed", exc_info=error)
            self.failure = error
            self._caught_up.set()

    def _records(self) -> Iterator[Record | None]:
        """Records, and None each time that all which stand there were given."""
        consumer = reader(self._settings)
        try:
            consumer.assign([TopicPartition(self._settings.topic("models"), 0, 0)])
            while not self._stopping.is_set():
                message = consumer.poll(0.2)
                if message is not None:
                    yield None if raise_on_error(message) else Record.of(message)
        finally:
            consumer.close()

    def _take(self, record: Record | None) -> None:
        if record is None or record.value is None:
            return
        reference = f"{QUERY_MODEL}@{ActiveModel.model_validate_json(record.value).active}"
        try:
            self.current = self._store.read(reference, stamp=self._stamp)
            log.info("model serves", bundle=reference)
        except ModelError as error:
            log.error("a bundle is refused; what served before goes on", bundle=reference, reason=str(error))
