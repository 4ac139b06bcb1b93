"""Following all partitions of a topic from its beginning, on a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from confluent_kafka import TopicPartition

from streams.clients import reader
from streams.records import Record, raise_on_error
from streams.settings import Settings


class Tail:
    """Hands each record to `take`, on its thread, in the order of its partition. A context manager."""

    def __init__(self, settings: Settings, name: str, take: Callable[[Record], None]) -> None:
        self.failure: BaseException | None = None
        self._settings = settings
        self._topic = settings.topic(name)
        self._take = take
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tail-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self.failure is not None:
            raise RuntimeError(f"{self._topic} cannot be followed") from self.failure

    def _run(self) -> None:
        consumer = reader(self._settings)
        try:
            consumer.assign([TopicPartition(self._topic, p, 0) for p in range(self._settings.partitions)])
            while not self._stopping.is_set():
                for message in consumer.consume(500, 0.05):
                    if not raise_on_error(message):
                        self._take(Record.of(message))
        except BaseException as error:  # told by `check`, on the thread of whoever waits
            self.failure = error
        finally:
            consumer.close()
