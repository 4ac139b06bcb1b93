"""Following a topic of one partition, from its beginning or from where state stands, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import structlog
from confluent_kafka import TopicPartition

from streams.clients import FOLLOWING, reader
from streams.records import Record, raise_on_error
from streams.settings import Settings

log = structlog.get_logger()

_POLL_S = 0.2
_START_S = 30.0


class Follower:
    """Hands each record to `take`, and calls `at_end` each time that all which stands there was taken.

    Both run on the thread. What they raise ends it and is `failure`.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self.failure: Exception | None = None
        self._settings = settings
        self._name = name
        self._stopping = threading.Event()
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def start_offset(self) -> int:
        """The first offset to read."""
        return 0

    @property
    def has_caught_up(self) -> bool:
        """Whether all that stood in the topic at the start was read."""
        return self._caught_up.is_set()

    def take(self, record: Record) -> None:
        """Take in a record."""
        raise NotImplementedError

    def at_end(self) -> None:
        """All records that stand there were taken."""

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
            for record in self._records():
                if record is not None:
                    self.take(record)
                else:
                    self.at_end()
                    self._caught_up.set()
        except Exception as error:
            log.error("a topic cannot be followed", topic=self._name, exc_info=error)
            self.failure = error
            self._caught_up.set()

    def _records(self) -> Iterator[Record | None]:
        """Records, and None each time that all which stand there were given."""
        consumer = reader(self._settings, **FOLLOWING)
        try:
            consumer.assign([TopicPartition(self._settings.topic(self._name), 0, self.start_offset)])
            while not self._stopping.is_set():
                message = consumer.poll(_POLL_S)
                if message is not None:
                    yield None if raise_on_error(message) else Record.of(message)
        finally:
            consumer.close()
