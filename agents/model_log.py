"""Following the `models` topic: the bundle that serves, loaded and checked."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import structlog
from confluent_kafka import TopicPartition
from pydantic import ValidationError

from models.bundles import Bundle, BundleStore
from state.fusion import FusionWeights
from streams.clients import reader
from streams.errors import ModelError
from streams.events.models import QUERY_MODEL, ActiveModel
from streams.records import Record, raise_on_error
from streams.settings import Settings

log = structlog.get_logger()

FOLDER = "bundles"
FUSION_FILE = "fusion.json"
_START_S = 30.0


def fusion_weights(bundle: Bundle | None) -> FusionWeights:
    """How a bundle says that paths are fused; the defaults where it says nothing. Raises ModelError."""
    written = None if bundle is None else bundle.files.get(FUSION_FILE)
    if written is None:
        return FusionWeights()
    try:
        return FusionWeights.model_validate_json(written)
    except ValidationError as error:
        raise ModelError(f"{FUSION_FILE} is not readable: {error}") from error


class ModelLog:
    """A thread that follows the topic. `current` is the bundle that serves, None before there is one.

    `fusion` are its weights of the paths.

    A bundle that cannot be used is refused loudly, and the one before goes on serving.
    """

    def __init__(self, settings: Settings, *, stamp: str) -> None:
        self.current: Bundle | None = None
        self.fusion = FusionWeights()
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
            bundle = self._store.read(reference, stamp=self._stamp)
            self.fusion = fusion_weights(bundle)
            self.current = bundle
            log.info("model serves", bundle=reference)
        except ModelError as error:
            log.error("a bundle is refused; what served before goes on", bundle=reference, reason=str(error))
