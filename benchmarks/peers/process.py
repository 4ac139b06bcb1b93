"""One engine in a process of its own, asked by lines of JSON.

Engines bring their own threads, allocators and versions of the same libraries: apart from each other they cannot
disturb each other, and the memory of the process is the engine's. Times are taken inside, around the call alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import psutil

from benchmarks.peers.freshness import times_to_visible
from benchmarks.peers.registry import peer

_FEWEST = 30
# OpenMP and BLAS; Rust's thread pool; Tokio; LanceDB's own.
_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "TOKIO_WORKER_THREADS", "LANCE_CPU_THREADS",
)  # fmt: skip


class PeerProcess:
    """The other end: starts the process, asks, waits for the answer."""

    def __init__(
        self, name: str, *, vectors: Path, queries: Path, folder: Path, threads: int | None = None
    ) -> None:
        """`threads`: how many an engine may start for its work, None for as many as it likes."""
        limits = {} if threads is None else dict.fromkeys(_THREADS, str(threads))
        command = [sys.executable, "-m", __name__, name, str(vectors), str(queries), str(folder)]
        self._log = (folder.parent / f"{name}.log").open("wb")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | limits,
        )
        try:
            self.about = self._read()
        except PeerError:
            self.close()
            raise

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """What the engine answers.

        Raises:
            PeerError: the engine failed or its process ended; the message says why.
        """
        stdin = cast("IO[str]", self._process.stdin)
        try:
            stdin.write(json.dumps({"do": do, **values}) + "\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # the read below says how it ended
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = cast("IO[str]", self._process.stdout).readline()
        if not line:
            raise PeerError(f"its process ended with {self._process.wait()}; see {self._log.name}")
        answer = cast("dict[str, Any]", json.loads(line))
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with suppress(BrokenPipeError):
                cast("IO[Any]", stream).close()


class PeerError(Exception):
    """An engine that cannot do what was asked; the message is the engine's own."""


class _Server:
    """Carries out what is asked with one engine."""

    def __init__(self, name: str, vectors: Path, queries: Path, folder: Path) -> None:
        self._peer = peer(name)
        self._vectors = np.load(vectors, mmap_mode="r")
        self._queries = np.load(queries)
        self._folder = folder
        self._memory_before = psutil.Process().memory_info().rss

    def about(self) -> dict[str, Any]:
        return {
            "name": self._peer.name,
            "settings": self._peer.settings,
            "efforts": list(self._peer.efforts),
            "visible_by": self._peer.visible_by,
            "deletes": self._peer.deletes,
        }

    def build(self, rows: int) -> dict[str, Any]:
        self._folder.mkdir(parents=True)
        taken = _seconds(lambda: self._peer.build(np.array(self._vectors[:rows]), self._folder))
        files = (path.stat().st_size for path in self._folder.rglob("*") if path.is_file())
        return {"seconds": taken, "disk_mb": sum(files) / 1e6}

    def open(self) -> dict[str, Any]:
        return {"seconds": _seconds(lambda: self._peer.open(self._folder))}

    def memory(self) -> dict[str, Any]:
        """Resident memory above what importing the engine took."""
        return {"mb": (psutil.Process().memory_info().rss - self._memory_before) / 1e6}

    def one_core(self, core: int = 0) -> dict[str, Any]:
        """All threads that there are onto one core; later ones inherit it."""
        for thread in psutil.Process().threads():
            os.sched_setaffinity(thread.id, {core})
        return {}

    def search(self, effort: int, first: int, count: int, nearest: int, most_s: float) -> dict[str, Any]:
        """Queries first ... one after the other, until `most_s` have passed, 30 at least."""
        taken, rows = [], []
        for query in self._queries[first : first + count]:
            started = time.perf_counter()
            found = self._peer.search(query, nearest, effort)
            taken.append(time.perf_counter() - started)
            rows.append(found.tolist())
            if len(taken) >= _FEWEST and sum(taken) > most_s:
                break
        return {"seconds": taken, "rows": rows}

    def insert(self, first: int, count: int, a_call: int, most_s: float) -> dict[str, Any]:
        """Rows first ..., until `most_s` have passed, three calls at least."""
        taken: list[float] = []
        beside, at = 0.0, first
        while at < first + count and (len(taken) < 3 or sum(taken) < most_s):
            vectors = np.array(self._vectors[at : min(at + a_call, first + count)])
            taken.append(_seconds(lambda at=at, vectors=vectors: self._put(at, vectors)))  # type: ignore[misc]
            beside += _seconds(self._peer.beside)
            at += len(vectors)
        return {"seconds": taken, "inserted": at - first, "beside": beside}

    def _put(self, first: int, vectors: np.ndarray) -> None:
        self._peer.insert(first, vectors)
        self._peer.make_visible()

    def delete(self, rows: list[int], a_call: int) -> dict[str, Any]:
        parts = [np.asarray(rows[at : at + a_call]) for at in range(0, len(rows), a_call)]
        return {"seconds": [_seconds(lambda part=part: self._peer.delete(part)) for part in parts]}  # type: ignore[misc]

    def tidy(self) -> dict[str, Any]:
        return {"seconds": _seconds(self._peer.tidy)}

    def fresh(self, **load: Any) -> dict[str, Any]:
        return times_to_visible(self._peer, self._vectors, self._queries, **load)


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _serve(arguments: list[str], answers: IO[str]) -> None:
    def answer(values: dict[str, Any]) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        server = _Server(arguments[0], *map(Path, arguments[1:]))
    except Exception as error:
        answer({"error": f"not available: {type(error).__name__}: {error}"})
        return
    answer(server.about())
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer(getattr(server, asked.pop("do"))(**asked))
        except Exception as error:  # whatever an engine raises is the answer
            answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    # Engines print to standard output as they like: the answers go out on a copy of it.
    with os.fdopen(os.dup(1), "w") as own:
        os.dup2(2, 1)
        _serve(sys.argv[1:], own)
