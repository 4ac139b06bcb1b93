"""One thread that encodes for everybody in a process: requests that wait together become one batch.

Models are used from one thread at a time; a GPU likes large batches; the event loop must never wait.
Partition tasks and queries call `encode` from their own threads and block until their part is done.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from agents.sensors import Sensor
from models.encoders.base import Encoded, Encoder, EncoderDescription, Part, Side, TextPart, Vectors

MAX_BATCH = 256
"""Parts in one call of the encoder."""


@dataclass(frozen=True)
class _Request:
    parts: Sequence[Part]
    side: Side
    answer: Future[Encoded]


class EncodingService:
    """A thread in front of an encoder. `encode` is thread-safe and raises what the encoder raises.

    A batch that fails is encoded again request by request, so that one bad part harms no other request.
    """

    def __init__(self, encoder: Encoder, *, sensor: Sensor) -> None:
        self._encoder = encoder
        self._sensor = sensor
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="encoder", daemon=True)
        self._thread.start()

    @property
    def description(self) -> EncoderDescription:
        return self._encoder.description

    def as_query(self, vectors: Vectors) -> Vectors:
        return self._encoder.as_query(vectors)

    def passages(self, text: str) -> list[str]:
        return self._encoder.passages(text)

    def submit(self, parts: Sequence[Part], *, side: Side) -> Future[Encoded]:
        """Queue parts; the future gives their vectors, in order."""
        answer: Future[Encoded] = Future()
        self._requests.put(_Request(parts, side, answer))
        return answer

    def encode(self, parts: Sequence[Part], *, side: Side) -> Encoded:
        """Encode and wait."""
        return self.submit(parts, side=side).result()

    def close(self) -> None:
        self._requests.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._requests.get()) is not None:
            batch = [first]
            stop = False
            while sum(len(r.parts) for r in batch) < MAX_BATCH and not self._requests.empty():
                more = self._requests.get()
                if more is None:
                    stop = True
                    break
                batch.append(more)
            for side in ("document", "query"):
                self._encode_side([r for r in batch if r.side == side], side)
            if stop:
                return

    def _encode_side(self, requests: list[_Request], side: Side) -> None:
        if not requests:
            return
        parts = [part for request in requests for part in request.parts]
        started = time.perf_counter()
        try:
            encoded = self._encoder.encode(parts, side=side)
        except Exception as error:
            self._fail_or_split(requests, side, error)
            return
        kind = "text" if all(isinstance(part, TextPart) for part in parts) else "image"
        self._sensor.encoded(kind, len(parts), time.perf_counter() - started)
        ends = np.cumsum([len(request.parts) for request in requests])
        for request, end in zip(requests, ends, strict=True):
            rows = slice(end - len(request.parts), end)
            request.answer.set_result(Encoded(encoded.vectors[rows], encoded.raw[rows]))

    def _fail_or_split(self, requests: list[_Request], side: Side, error: Exception) -> None:
        if len(requests) == 1:
            requests[0].answer.set_exception(error)
            return
        for request in requests:
            self._encode_side([request], side)
