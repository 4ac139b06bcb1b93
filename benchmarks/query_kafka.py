"""The second half of `trieflow bench query`: from Kafka to Kafka, through an indexer and a searcher on that folder.

The searcher starts from a copy of the shard, words and graph that the first half left; what is published from now
on comes to it by the log. A curator is left out: it would hold all documents a second time on the same machine.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from agents.content_store import ContentStore
from benchmarks.query_documents import EPOCH, Documents, prepared
from benchmarks.query_load import QUERIES_S, quantiles
from benchmarks.query_process import questions_of
from models.encoders.registry import describe_encoder
from streams.broker.embedded import EmbeddedBroker
from streams.clients import producer
from streams.errors import BrokerError
from streams.events.base import Event
from streams.events.codebooks import ACTIVE_KEY, ActiveEpoch, CodebookEpoch, epoch_key
from streams.events.queries import Result
from streams.headers import TYPES, cloud_event
from streams.records import end_offset
from streams.settings import Settings
from streams.topics import create_topics
from trieflow.client import Client
from trieflow.replies import Pending
from trieflow.status import workers
from trieflow.supervisor import Supervisor, WorkerName

_ROLES = ("indexer", "searcher")
_READY_S = 900.0
_TICK_S = 0.2
_WARM = 40
_TIMEOUT_S = 60.0
_NEW, _CHANGED = 0.4, 0.3


def through_kafka(request: Mapping[str, Any]) -> dict[str, Any]:
    """Round trips and stages of queries, alone and beside documents that are published."""
    description = describe_encoder(request["encoder"])
    documents = prepared(
        Path(request["documents"]),
        count=request["count"],
        corpus_folder=Path(request["corpus"]),
        description=description,
    )
    figures: dict[str, Any] = {}
    with (
        _copied(Path(request["data"])) as data,
        _system(data, request["encoder"], documents, figures) as settings,
        Client(settings) as client,
    ):
        questions = questions_of(Path(request["corpus"]))
        _ask(client, questions[-_WARM:], seconds=_WARM / QUERIES_S)
        figures["alone"] = _ask(client, questions, seconds=request["alone_s"])
        stop, told = threading.Event(), [0]
        feeding = threading.Thread(
            target=_feed, args=(settings, documents, request["changes_s"], stop, told), name="feed"
        )
        feeding.start()
        figures["beside"] = _ask(client, questions, seconds=request["seconds"])
        stop.set()
        feeding.join()
        figures["published a second"] = told[0] / request["seconds"]
        figures["age of the newest document at the end, ms"] = client.search(
            questions[0], timeout=_TIMEOUT_S
        ).newest_document_age_ms
        lines = {line.role: line for line in workers(settings.data)}
        figures["resident memory of the searcher, MB"] = (
            psutil.Process(lines["searcher"].pid).memory_info().rss / 1e6
        )
        figures["behind at the end"] = str(lines["searcher"].details.get("behind"))
    return figures


@contextmanager
def _copied(data: Path) -> Iterator[Path]:
    """A copy for one run: a folder that was part of a Kafka cluster is good for that cluster alone."""
    copy = data.with_name("through-kafka")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(data, copy, ignore=shutil.ignore_patterns("index.npz"))
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


@contextmanager
def _system(data: Path, encoder: str, documents: Documents, figures: dict[str, Any]) -> Iterator[Settings]:
    """Broker, indexer and searcher; seconds until each is ready go into `figures`."""
    broker = EmbeddedBroker(data / "broker", ephemeral=True)
    settings = Settings(data=data, brokers=broker.start(), encoder=encoder)
    supervisor = Supervisor(settings, [WorkerName(role, "0") for role in _ROLES], print)
    try:
        create_topics(settings)
        _publish_tree_once(settings, documents)
        started = time.perf_counter()
        for role in _when_ready(settings, supervisor):
            figures[f"{role} ready after, s"] = time.perf_counter() - started
        yield settings
    finally:
        supervisor.stop()
        broker.stop()


def _when_ready(settings: Settings, supervisor: Supervisor) -> Iterator[str]:
    """The roles, as they get ready."""
    waiting, until = set(_ROLES), time.monotonic() + _READY_S
    while waiting:
        if time.monotonic() > until:
            raise SystemExit(f"{waiting} not ready within {_READY_S:.0f} s; see {settings.data}/logs")
        supervisor.tick()
        time.sleep(_TICK_S)
        ours = {worker.pid for worker in supervisor.workers}
        for line in workers(settings.data):
            if line.pid in ours and line.state == "ready" and line.role in waiting:
                waiting.discard(line.role)
                yield line.role


@retry(retry=retry_if_exception_type(BrokerError), stop=stop_after_delay(30), wait=wait_fixed(0.5))
def _publish_tree_once(settings: Settings, documents: Documents) -> None:
    """What a curator would have published. A partition that was made a moment ago has no leader yet."""
    if end_offset(settings, topic=settings.topic("codebooks"), partition=0) > 0:
        return
    data = documents.book.to_bytes()
    digest = hashlib.sha256(data).hexdigest()
    uri = ContentStore(settings.content_store).put(f"codebooks/{digest}.safetensors", data)
    fitted = CodebookEpoch(
        epoch=EPOCH,
        stamp=documents.book.stamp,
        uri=uri,
        sha256=digest,
        fitted_on=len(documents),
        leaves=len(documents.book),
    )
    writer = producer(settings)
    events: list[tuple[str, Event]] = [(epoch_key(EPOCH), fitted), (ACTIVE_KEY, ActiveEpoch(epoch=EPOCH))]
    for key, event in events:
        headers = cloud_event(event_type=TYPES["codebooks"], source="benchmark")
        writer.produce(settings.topic("codebooks"), key=key, value=event.to_json(), headers=headers)
    writer.flush()


# -- load ---------------------------------------------------------------------------------------------------


def _ask(client: Client, questions: list[str], *, seconds: float) -> dict[str, dict[str, float]]:
    """An open loop of queries; quantiles of the stages that the searcher tells, and of the round trip."""
    taken: dict[str, list[float]] = {}
    failed = 0
    due = time.perf_counter()
    asked: list[threading.Event] = []
    for question in itertools.islice(itertools.cycle(questions), int(seconds * QUERIES_S)):
        time.sleep(max(0.0, due - time.perf_counter()))
        asked.append(done := threading.Event())
        client.search_async(question, timeout=_TIMEOUT_S).on_done(_noted(due, taken, done))
        due += 1 / QUERIES_S
    for done in asked:
        failed += not done.wait(_TIMEOUT_S)
    if failed or "round trip" not in taken:
        raise SystemExit(f"{failed} queries were not answered")
    return {name: quantiles(values) for name, values in sorted(taken.items())}


def _noted(
    due: float, taken: dict[str, list[float]], done: threading.Event
) -> Callable[[Pending[Result]], None]:
    def note(pending: Pending[Result]) -> None:
        result = pending.result(0)
        taken.setdefault("round trip", []).append(time.perf_counter() - due)
        for stage, milliseconds in (result.took_ms or {}).items():
            taken.setdefault(f"searcher: {stage}", []).append(milliseconds / 1_000)
        done.set()

    return note


def _feed(
    settings: Settings, documents: Documents, per_s: float, stop: threading.Event, told: list[int]
) -> None:
    """Publish new documents, new contents for these, and removals, each with a ready vector."""
    writer, topic = producer(settings), settings.topic("documents")
    random = np.random.default_rng(1)
    run, added = time.time_ns(), 0
    started = time.perf_counter()
    while not stop.wait(0.004):
        while told[0] < (time.perf_counter() - started) * per_s:
            kind = random.random()
            is_new = kind < _NEW or not added
            number = added if is_new else int(random.integers(added))
            added += is_new
            row = int(random.integers(len(documents)))
            body = _body(documents, row) if is_new or kind < _NEW + _CHANGED else None
            writer.produce(topic, key=f"kafka-{run}-{number}", value=body)
            writer.poll(0)
            told[0] += 1
    writer.flush()


def _body(documents: Documents, row: int) -> bytes:
    held = documents.assignment(row)
    vector = base64.b64encode(documents.vectors[row].astype("<f2").tobytes()).decode()
    return orjson.dumps(
        {
            "title": held.title,
            "text": held.text,
            "tags": held.tags,
            "fields": held.fields,
            "language": held.language,
            "vectors": [{"stamp": documents.book.stamp, "kind": "text", "data": vector}],
        }
    )
