"""What the benchmark and the tests do with a world: encode its texts, publish it, time a click."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.learning.people import document_id
from benchmarks.learning.world import Floats, World
from models.encoders.base import Encoder, TextPart
from streams.errors import TrieflowError
from trieflow.client import Client

_TEXTS_AT_ONCE = 256
_CHANGES = 60
_TIMEOUT_S = 15.0
_encoded: dict[str, dict[str, Floats]] = {}
"""By stamp and text."""


def encoded(encoder: Encoder, texts: Sequence[str]) -> Floats:
    """Vectors (n, d) of texts as queries. Worlds share most of their texts: each is encoded once."""
    known = _encoded.setdefault(encoder.description.stamp, {})
    new = [text for text in dict.fromkeys(texts) if text not in known]
    for at in range(0, len(new), _TEXTS_AT_ONCE):
        batch = new[at : at + _TEXTS_AT_ONCE]
        vectors = encoder.encode([TextPart(text) for text in batch], side="query").vectors
        known.update(zip(batch, vectors, strict=True))
    return np.stack([known[text] for text in texts])


def publish(client: Client, world: World, *, stamp: str) -> None:
    """Each thing as a vector, with the words that are known of it."""

    def documents() -> Any:
        for thing, row in enumerate(world.vectors):
            data = base64.b64encode(row.astype("<f2").tobytes()).decode()
            vectors = [{"stamp": stamp, "kind": "image", "data": data}]
            yield document_id(thing), {"tags": world.things.known_words(thing), "vectors": vectors}

    client.publish_many(documents(), on_receipt=lambda receipt: None, timeout=120)


def click_to_change_ms(client: Client, count: int = _CHANGES) -> list[float]:
    """Click a hit of a query that was never asked; ask again until clicks are among what its score is made of."""
    taken = []
    for number in range(count):
        text = f"never{number}asked{time.time_ns()}"
        who = {"user_id": f"tester-{number}", "session_id": f"test-{number}"}
        result = client.search({"text": text, "mode": "dense"}, timeout=30, **who)  # type: ignore[arg-type]
        assert result.hits
        target = result.hits[0].document_id
        started = time.perf_counter()
        client.click(result.query_id, target)
        while True:
            again = client.search({"text": text, "mode": "dense"}, learn=False, explain=True, timeout=30)
            now = next((hit for hit in again.hits or [] if hit.document_id == target), None)
            if now is not None and (now.parts or {}).get("click_memory", 0) > 0:
                break
            if time.perf_counter() - started > _TIMEOUT_S:
                raise TrieflowError(f"a click on {target} changed nothing within {_TIMEOUT_S:.0f} s")
        taken.append((time.perf_counter() - started) * 1_000)
    return taken
