"""Fitting a tree on what the live index holds, on a thread of its own."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor

import faiss
import numpy as np
import structlog
from numpy.typing import NDArray

from models.codebooks import Codebook, fit_codebook
from state.live_index import LiveIndex, in_numbers
from streams.events.codebooks import FitReason
from streams.settings import IndexSettings

log = structlog.get_logger()

PROGRESS_EVERY_S = 5.0
_AT_ONCE = 65_536


class Fitter:
    """At most one fit at a time. While it runs the log is followed and health is told. Not safe for threads."""

    def __init__(self, settings: IndexSettings, index: LiveIndex, *, stamp: str) -> None:
        self._settings = settings
        self._index = index
        self._stamp = stamp
        self._running: Future[Codebook] | None = None
        self._reason: FitReason = "first"
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="fit")
        # A fit must leave something for the workers beside it.
        faiss.omp_set_num_threads(max(1, (os.cpu_count() or 1) // 2))

    @property
    def is_running(self) -> bool:
        return self._running is not None

    def start(self, epoch: int, reason: FitReason) -> None:
        """Begin to fit the tree of a new epoch; nothing may be running."""
        assert self._running is None
        self._reason = reason
        self._running = self._threads.submit(self._fit, epoch)

    def finished(self) -> tuple[Codebook, FitReason] | None:
        """The tree and why it was fitted, once, when it is done. Raises what the fit raised."""
        if self._running is None or not self._running.done():
            return None
        tree, self._running = self._running.result(), None
        return tree, self._reason

    def give_up(self) -> None:
        """Forget the fit that runs: its tree is not wanted any more."""
        if self._running is not None:
            self._running.cancel()
            self._running = None

    def stop(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fit(self, epoch: int) -> Codebook:
        started = time.perf_counter()
        vectors = self._vectors()
        tree = fit_codebook(
            vectors,
            epoch=epoch,
            stamp=self._stamp,
            leaves=max(2, len(vectors) // self._settings.documents_per_leaf),
            seed=self._settings.seed,
            progress=_Progress(epoch),
        )
        seconds = round(time.perf_counter() - started, 3)
        log.info("codebook fitted", epoch=epoch, leaves=len(tree), fitted_on=len(vectors), seconds=seconds)
        return tree

    def _vectors(self) -> NDArray[np.float16]:
        """The vectors of all documents that their leaves follow from, (n, d), in the order of slots."""
        slots = in_numbers(self._index.every())
        vectors = np.empty((len(slots), self._index.dimension), dtype=np.float16)
        for at in range(0, len(slots), _AT_ONCE):
            with self._index.reading():
                vectors[at : at + _AT_ONCE] = self._index.fused(slots[at : at + _AT_ONCE])
        return vectors


class _Progress:
    """Tells in the log how far a fit is, not more often than every few seconds."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._started = self._told = time.monotonic()

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if share > 0 and now - self._told > PROGRESS_EVERY_S:
            self._told = now
            left = round((now - self._started) * (1 - share) / share)
            log.info("fitting", epoch=self._epoch, done=round(share, 3), seconds_left=left)
