"""One process of `trieflow bench query`: `python -m benchmarks.query_process REQUEST ANSWER`, both files of JSON.

`build` fills the folder: documents, shard, lexical index, graph. `measure` starts a searcher from it and asks.
A process of its own, so that memory above what the interpreter and the encoder take can be told.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks import corpus
from benchmarks.query_changes import Changes, fill_shard, splits
from benchmarks.query_documents import Documents, prepared
from benchmarks.query_load import SNAPSHOT, Changing, Windows, ask_at_rate, by_stage, by_window, quantiles
from benchmarks.query_searcher import ROLE, BareSearcher, Measured, memory_mb
from benchmarks.query_tower import WithTower
from models.encoders.base import Encoder
from models.encoders.registry import load_encoder
from state.shard import Shard
from state.warm_up import warm_up
from streams.settings import Settings

_WARM = 40
_A_SPLIT_EVERY_S = 15.0
_CLEAN = "clean"


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Answer one request."""
    settings = Settings(data=Path(request["data"]), brokers="none:9092", encoder=request["encoder"])
    encoder: Encoder = load_encoder(settings.encoder, threads=settings.encoder_threads)
    warm_up()
    documents = prepared(
        Path(request["documents"]),
        count=request["count"],
        corpus_folder=Path(request["corpus"]),
        description=encoder.description,
        encoder=encoder,
    )
    if request["do"] == "build":
        return _build(settings, encoder, documents)
    if request["tower"]:
        questions = questions_of(Path(request["corpus"]))
        encoder = WithTower(encoder, request["tower"], questions=questions, threads=settings.encoder_threads)
    return _measure(settings, encoder, documents, request)


# -- building -----------------------------------------------------------------------------------------------


def _build(settings: Settings, encoder: Any, documents: Documents) -> dict[str, Any]:
    measured = Measured()
    with (
        measured.stage("shard filled"),
        Shard.open(settings.role_folder(ROLE) / "replica") as shard,
    ):
        fill_shard(shard, documents)
    _forget_if_killed(settings)
    searcher = BareSearcher(settings, encoder, documents.book)
    searcher.start()
    searcher.dense.save()
    _close(searcher, settings)
    return {"seconds": measured.seconds | searcher.measured.seconds}


def _forget_if_killed(settings: Settings) -> None:
    """What a killed run left of the lexical index is behind a log that is not there."""
    folder = settings.role_folder(ROLE)
    if not (folder / _CLEAN).exists():
        shutil.rmtree(folder / "lexical", ignore_errors=True)
    (folder / _CLEAN).unlink(missing_ok=True)


def _close(searcher: BareSearcher, settings: Settings) -> None:
    searcher.close()
    (settings.role_folder(ROLE) / _CLEAN).touch()


# -- measuring ----------------------------------------------------------------------------------------------


def _measure(
    settings: Settings, encoder: Any, documents: Documents, request: dict[str, Any]
) -> dict[str, Any]:
    _forget_if_killed(settings)
    runtime = memory_mb()
    loaded_s = time.time() - psutil.Process().create_time()
    searcher = BareSearcher(settings, encoder, documents.book)
    started = time.perf_counter()
    searcher.start()
    ready_s = time.perf_counter() - started
    held = memory_mb()
    figures: dict[str, Any] = {
        "documents": len(searcher.index),
        "vectors": searcher.index.rows,
        "leaves": len(documents.book),
        "interpreter and encoder, s": loaded_s,
        "ready after, s": ready_s,
        "start, s": searcher.measured.seconds,
        "runtime_mb": runtime,
        "memory_mb": searcher.measured.anonymous_mb,
        "mapped_mb": searcher.measured.mapped_mb,
        "parts_mb": _parts(searcher),
        "above_runtime_mb": held["RssAnon"] - runtime["RssAnon"],
        "mapped_above_runtime_mb": held["RssFile"] - runtime["RssFile"],
        "peak_above_runtime_mb": held["VmHWM"] - runtime["RssAnon"] - runtime["RssFile"],
    }
    figures |= _asked(searcher, documents, request)
    after = memory_mb()
    figures["above_runtime_after_queries_mb"] = after["RssAnon"] - runtime["RssAnon"]
    _close(searcher, settings)
    return figures


def _parts(searcher: BareSearcher) -> dict[str, float]:
    """What the arrays say of themselves."""
    arrays, path = searcher.index.rows_arrays, searcher.index.active_path()
    a_row = arrays.coarse.shape[1] + arrays.fine.shape[1]
    return {
        "vectors": (searcher.index.rows * a_row + arrays.first.nbytes) / 1e6,
        "tree, trie and postings": 0.0 if path is None else path.nbytes / 1e6,
    }


def _asked(searcher: BareSearcher, documents: Documents, request: dict[str, Any]) -> dict[str, Any]:
    questions = questions_of(Path(request["corpus"]))
    ask_at_rate(searcher, questions[-_WARM:], seconds=_WARM / 20)
    alone = ask_at_rate(searcher, questions, seconds=request["alone_s"])
    windows, seconds, rate = Windows(), request["seconds"], request["changes_s"]
    changes = Changes(searcher, documents, seed=0)
    decisions = list(splits(searcher, documents.book, int(seconds / _A_SPLIT_EVERY_S)))
    records = changes.records(int(seconds * rate))
    moves = [changes.moves(searcher, decision) for decision in decisions]
    cut = {
        int((number + 0.5) * _A_SPLIT_EVERY_S * rate): each
        for number, each in enumerate(zip(decisions, moves, strict=True))
    }
    changing = Changing(searcher, records, per_s=rate, splits=cut, windows=windows)
    writer = threading.Timer(seconds / 2, lambda: _snapshot(searcher, windows))
    with windows.watching(searcher), changing:
        writer.start()
        beside = ask_at_rate(searcher, questions, seconds=seconds)
        behind = {"lexical": searcher.lexical.index.behind, "dense": searcher.dense.behind}
    writer.join()
    return {
        "alone": by_stage(alone),
        "beside": by_stage(beside),
        "beside by what went on": by_window(beside, windows),
        "what went on": {
            name: quantiles([end - start for kind, start, end in windows.spans if kind == name])
            for name in sorted({name for name, _, _ in windows.spans})
        },
        "changes_s": changing.done / seconds,
        "moved": sum(map(len, moves)),
        "largest_batch": changing.largest,
        "changes": {name: quantiles(taken) for name, taken in changing.taken.items()},
        "behind_at_the_end": behind,
        "hits": sum(answer.hits for answer in itertools.chain(alone, beside)),
    }


def _snapshot(searcher: BareSearcher, windows: Windows) -> None:
    with windows.during(SNAPSHOT):
        searcher.dense.save()


def questions_of(folder: Path) -> list[str]:
    """The first words of sentences that are no documents."""
    corpus.load(folder)
    lines = (folder / "queries_sentences.txt").read_text(encoding="utf-8").splitlines()
    return [" ".join(line.split()[:6]) for line in lines if line.strip()]


if __name__ == "__main__":
    corpus.write_json(Path(sys.argv[2]), main(corpus.read_json(Path(sys.argv[1]))))
