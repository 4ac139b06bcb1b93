"""The queries of a soak, and a judge who reads every answer."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks.soaking.account import Account, Seen, document_id
from benchmarks.soaking.stream import Material
from streams.clients import producer
from streams.headers import DEADLINE, now_ms
from streams.records import Record
from streams.settings import Settings

DEADLINE_S = 60.0
"""Long enough for a kill: partitions change hands after the session timeout, and a searcher has to start."""
_TRIES = 8
KINDS = {"like": 3, "words": 3, "gone": 2, "changed": 2}
"""Like a live document; words of a live document's title; one that was deleted; one that was changed."""


@dataclass(frozen=True)
class Asked:
    """A query under way. `number` is the document that it is about, `revision` what must be known of it."""

    kind: str
    number: int
    revision: int
    seen: Seen
    at: float


class Questions:
    """Asks by `ask`, judges by `take`; each may have a thread of its own."""

    def __init__(self, settings: Settings, account: Account, material: Material, *, seed: int) -> None:
        self.count = 0
        self.kinds: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.repeated = 0
        self.seconds: list[float] = []
        self._account = account
        self._material = material
        self._random = random.Random(seed)
        self._producer = producer(settings, **{"delivery.timeout.ms": 120_000})
        self._topic = settings.topic("queries")
        self._under_way: dict[str, Asked] = {}
        self._event_ids: dict[str, set[str]] = defaultdict(set)
        self._lock = threading.Lock()

    def ask(self, *, rate: float, stopping: threading.Event) -> None:
        """Ask at `rate` a second until told to stop, whether answers come or not."""
        while not stopping.wait(1 / rate):
            self._ask(self._random.choices(list(KINDS), weights=list(KINDS.values()))[0])
            self._producer.poll(0)
        if self._producer.flush(120.0):
            raise RuntimeError("Kafka does not take the queries")

    def take(self, record: Record) -> None:
        """A record of `results`."""
        result = orjson.loads(record.value or b"{}")
        query_id = result["query_id"]
        with self._lock:
            asked = self._under_way.pop(query_id, None)
            if asked is None and query_id not in self._event_ids:
                return  # somebody else's
            self._event_ids[query_id].add(record.incoming.text("ce_id") or "")
            if asked is None:
                self.repeated += 1
                return
        self.seconds.append(time.monotonic() - asked.at)
        fault = self._fault(asked, result)
        if fault:
            self.wrong.append(f"{asked.kind} {document_id(asked.number)}: {fault}")

    @property
    def waiting(self) -> int:
        """Queries that have no answer yet."""
        return len(self._under_way)

    def differing_repeats(self) -> int:
        """Queries with two answers that do not carry the same event id."""
        return sum(len(event_ids) > 1 for event_ids in self._event_ids.values())

    def _ask(self, kind: str) -> None:
        about = self._about(kind)
        if about is None:
            return
        number, revision = about
        seen = self._account.seen()
        query_id = str(uuid.uuid4())
        body = self._body(kind, number) | {
            "top_k": 10,
            "read_after": [position.model_dump() for position in seen.read_after],
        }
        with self._lock:
            self._under_way[query_id] = Asked(kind, number, revision, seen, time.monotonic())
        deadline = str(now_ms() + int(DEADLINE_S * 1_000)).encode()
        self._producer.produce(
            self._topic, key=query_id, value=orjson.dumps(body), headers=[(DEADLINE, deadline)]
        )
        self.count += 1
        self.kinds[kind] += 1

    def _about(self, kind: str) -> tuple[int, int] | None:
        """A document and its revision; None while there is none of this kind."""
        if kind in ("like", "words"):
            numbers = self._random.choices(self._account.indexed, k=_TRIES) if self._account.indexed else []
            live = [number for number in numbers if self._account.documents[number].live]
            return (live[0], 0) if live else None
        changes = list(self._account.deleted if kind == "gone" else self._account.changed)
        if not changes:
            return None
        change = self._random.choice(changes[-50:])
        return change.number, change.revision

    def _body(self, kind: str, number: int) -> dict[str, Any]:
        if kind == "like":
            return {"document_id": document_id(number)}
        title = self._material.title(number, self._account.documents[number])
        if kind == "words":
            return {"text": " ".join(self._random.sample(title.split(), min(4, len(title.split()))))}
        return {"text": title, "filter": {"number": number}}

    def _fault(self, asked: Asked, result: dict[str, Any]) -> str | None:
        """What is wrong with an answer, or None."""
        document = self._account.documents[asked.number]
        if result.get("error"):
            code = result["error"]["code"]
            if code == "unknown_document" and not document.live:
                return None  # it was deleted between question and answer
            self.errors[code] += 1
            return None
        self.modes[result["mode"]] += 1
        hits = {hit["document_id"]: hit for hit in result["hits"]}
        if len(hits) != len(result["hits"]):
            return "a document is there twice"
        if gone := [key for key in hits if self._account.was_deleted(key, asked.seen)]:
            return f"deleted before it was asked: {gone}"
        ids = [hit["semantic_id"] for hit in hits.values() if hit.get("semantic_id")]
        if len(set(ids)) != len(ids):
            return f"two documents with one id: {sorted(ids)}"
        return self._fault_about_its_document(asked, hits)

    def _fault_about_its_document(self, asked: Asked, hits: dict[str, Any]) -> str | None:
        document, key = self._account.documents[asked.number], document_id(asked.number)
        if asked.kind == "changed" and document.live:
            if key not in hits:
                return "a change with a receipt is not found"
            if hits[key]["fields"]["revision"] < asked.revision:
                return f"revision {asked.revision} has a receipt, found {hits[key]['fields']['revision']}"
        if asked.kind == "like" and document.live and not hits:
            return "nothing is like it"
        return None
