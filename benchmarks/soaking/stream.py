"""The documents of a soak: new ones, changed ones and deletes of real vectors and sentences, at a steady rate."""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.soaking.account import Account, Change, Document, document_id
from streams.clients import producer
from streams.headers import CORRELATION_ID
from streams.settings import Settings

SHARES = {"new": 60, "update": 20, "delete": 20}
"""Of a hundred changes, once the base is loaded."""
MOST_WAITING = 2_000
"""Events without a receipt, at most: then the stream waits for the system."""
_TITLE = 120
_LATE_S = 2.0
"""What was late by more is not made up for."""


@dataclass(frozen=True)
class Material:
    """What documents are made of: vectors (n, d) and a sentence for each. Rows are taken in their order."""

    vectors: NDArray[np.float32]
    sentences: Sequence[str]
    stamp: str

    def title(self, number: int, document: Document) -> str:
        sentence = self.sentences[document.row][:_TITLE]
        return f"{sentence} {document_id(number)} r{document.revision}"

    def vector(self, document: Document) -> NDArray[np.float16]:
        vector: NDArray[np.float16] = self.vectors[document.row].astype("<f2")
        return vector

    def body(self, number: int, document: Document) -> bytes:
        data = base64.b64encode(self.vector(document).tobytes()).decode()
        body: dict[str, object] = {
            "title": self.title(number, document),
            "vectors": [{"stamp": self.stamp, "kind": "fused", "data": data}],
            "fields": {"number": number, "revision": document.revision},
            "tags": [f"t{document.row % 7}"],
        }
        if number % 3 == 0:
            body["version"] = document.revision
        return orjson.dumps(body)


class Stream:
    """The one publisher. Not thread-safe; others read the account."""

    def __init__(self, settings: Settings, account: Account, material: Material, *, seed: int) -> None:
        self._account = account
        self._material = material
        self._random = random.Random(seed)
        self._producer = producer(settings, **{"delivery.timeout.ms": 120_000, "linger.ms": 5})
        self._topic = settings.topic("documents")
        self._live: list[int] = []
        self._next_row = 0
        self._due = 0.0
        self.count = 0

    def load(self, count: int, *, seconds: float = 0.25) -> None:
        """Publish up to `count` new documents as fast as receipts come, for so many seconds at most."""
        until = time.monotonic() + seconds
        while count and time.monotonic() < until:
            if self._account.waiting >= MOST_WAITING:
                time.sleep(0.01)
                continue
            self._new()
            count -= 1
        self._producer.poll(0)

    def change(self, *, rate: float, seconds: float = 0.25) -> None:
        """Publish the mix of changes at `rate` a second for so many seconds."""
        until, every = time.monotonic() + seconds, 1 / rate
        self._due = max(self._due, time.monotonic() - _LATE_S)
        while self._due < until:
            time.sleep(max(0.0, self._due - time.monotonic()))
            self._due += every
            if self._account.waiting < MOST_WAITING:
                kind = self._random.choices(list(SHARES), weights=list(SHARES.values()))[0]
                {"new": self._new, "update": self._update, "delete": self._delete}[kind]()
        self._producer.poll(0)

    def close(self) -> None:
        """Wait until Kafka has everything. Raises SystemExit when it does not take it."""
        if self._producer.flush(120.0):
            raise SystemExit("Kafka does not take what is published")

    @property
    def live(self) -> int:
        return len(self._live)

    def _new(self) -> None:
        number = len(self._account.documents)
        document = self._account.documents[number] = Document(self._take_row())
        self._live.append(number)
        self._send(Change("new", number, 0), self._material.body(number, document))

    def _update(self) -> None:
        """Half of the updates bring other content, and so belong elsewhere; the others keep their vector."""
        number = self._random.choice(self._live)
        document = self._account.documents[number]
        document.revision += 1
        if self._random.random() < 0.5:
            document.row = self._take_row()
        self._send(Change("update", number, document.revision), self._material.body(number, document))

    def _delete(self) -> None:
        place = self._random.randrange(len(self._live))
        number = self._live[place]
        self._live[place] = self._live[-1]
        self._live.pop()
        document = self._account.documents[number]
        document.revision += 1
        document.live = False
        self._send(Change("delete", number, document.revision), None)

    def _take_row(self) -> int:
        row = self._next_row % len(self._material.vectors)
        self._next_row += 1
        return row

    def _send(self, change: Change, value: bytes | None) -> None:
        self._account.sent(change)
        headers = [(CORRELATION_ID, change.name.encode())]
        while True:
            try:
                self._producer.produce(self._topic, key=change.key, value=value, headers=headers)
                break
            except BufferError:
                self._producer.poll(0.1)
        self.count += 1
