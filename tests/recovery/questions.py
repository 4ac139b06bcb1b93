"""Queries that a test asks in the background, and the account of their answers."""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from streams.events.queries import Result
from streams.headers import DEADLINE, derived_id, now_ms
from streams.records import Record
from tests.recovery.system import System
from tests.recovery.waiting import eventually

ANSWER_S = 60.0


class Questions:
    """Asks by the producer of the system; answers are read from the topic when all is over."""

    def __init__(self, system: System, *, deadline_s: float = 30.0) -> None:
        self._system = system
        self._deadline_s = deadline_s
        self.asked: list[str] = []

    @contextmanager
    def under_way(self, text: str = "red boots", *, rate: int = 20) -> Iterator[Questions]:
        """Ask `rate` times a second for as long as the block runs."""
        stopping = threading.Event()

        def run() -> None:
            while not stopping.wait(1 / rate):
                self.ask(text)

        thread = threading.Thread(target=run, name="questions", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stopping.set()
            thread.join()
            assert self._system.producer.flush(30.0) == 0

    def ask(self, text: str) -> None:
        query_id = str(uuid.uuid4())
        self._system.producer.produce(
            self._system.settings.topic("queries"),
            key=query_id,
            value=orjson.dumps({"text": text, "top_k": 3}),
            headers=[(DEADLINE, str(now_ms() + int(self._deadline_s * 1_000)).encode())],
        )
        self._system.producer.poll(0)
        self.asked.append(query_id)

    def results(self) -> dict[str, list[Result]]:
        """Waits until every question has a result; then all their results, by query id."""
        answered = "every query has an answer or a failure"
        eventually(lambda: self._found().keys() >= set(self.asked), ANSWER_S, what=answered)
        found = self._found()
        return {query_id: found[query_id] for query_id in self.asked}

    def _found(self) -> dict[str, list[Result]]:
        found = defaultdict(list)
        for record in self._system.records("results"):
            result = Result.model_validate_json(record.value or b"")
            found[result.query_id].append(result)
        return found


def assert_repeats_are_recognised(system: System) -> int:
    """Every result and impression carries the id that follows from its query; returns how many were repeated."""
    queries = {query.key: query for query in system.records("queries")}
    repeated = 0
    for topic, operation in (("results", "result"), ("impressions", "impression")):
        records = system.records(topic)
        for record in records:
            expected = _derived(queries[record.key], operation)
            assert dict(record.headers)["ce_id"].decode() == expected
        repeated += len(records) - len({record.key for record in records})
    return repeated


def _derived(query: Record, operation: str) -> str:
    return derived_id(topic=query.topic, partition=query.partition, offset=query.offset, operation=operation)
