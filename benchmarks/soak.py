"""`trieflow bench soak`: inserts, changes, deletes, moves, queries, refits and kills; then everybody must agree.

An embedded Kafka, two indexers, two searchers and a curator, as real processes. First the base is loaded; then, for
so many minutes, documents come, change and go, queries are asked, and about once a minute a worker is ended by
SIGKILL and started again. When all is quiet, every replica is compared with a fold of the log that shares no code
with it: the shards on disk, the memory of both searchers (asked leaf by leaf, before and after a clean restart),
and a live index that followed the log all along. Vectors and sentences are those of `benchmarks/corpus.py`.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from benchmarks import corpus
from benchmarks.drift import drifting
from benchmarks.soaking.account import Account, document_id
from benchmarks.soaking.agreement import Comparison, compare_shards
from benchmarks.soaking.asking import Questions
from benchmarks.soaking.live import compare_live
from benchmarks.soaking.log_fold import LogFold, fold_log
from benchmarks.soaking.observer import Observer
from benchmarks.soaking.report import (
    curator_figures,
    errors_in_logs,
    kill_figures,
    log_figures,
    query_figures,
)
from benchmarks.soaking.stream import Material, Stream
from benchmarks.soaking.tail import Tail
from benchmarks.soaking.workers import NAMES, Workers, kafka
from benchmarks.tables import keep
from models.encoders.registry import describe_encoder
from streams.records import end_offset
from streams.settings import Settings

Progress = Callable[[str], None]
PROGRESS_S = 10.0
QUIET_S = 10.0
"""For so long no log may grow, and nothing be on the move, before replicas are compared."""
PATIENCE_S = 900.0
SEARCHERS = [name for name in NAMES if name.role == "searcher"]


@dataclass(frozen=True)
class Plan:
    """How long, how much, how often. `settings` are names as in the environment: `index__ids_from`."""

    documents: int
    minutes: float
    seed: int = 0
    changes_s: float = 100.0
    queries_s: float = 5.0
    kill_every_s: float = 60.0
    settings: Mapping[str, str] = field(default_factory=dict)


def default_settings(documents: int, *, encoder: str) -> dict[str, str]:
    """The first tree at a seventh of the documents; it is fitted anew when as many have come or gone."""
    first = str(max(64, documents * 3 // 20))
    return {
        "encoder": encoder,
        "partitions": "4",
        "kafka__session_timeout_s": "6",
        "index__ids_from": first,
        "index__exact_up_to": first,
        "index__refit_at": "2",
        "index__documents_per_leaf": "64",
        "search__read_after_wait_s": "60",
        "retention__queries_h": "24",
    }


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run it. Writes `benchmarks/results/soak.json` with `--keep`; exit status 1 when anything does not agree."""
    parser = argparse.ArgumentParser(prog="trieflow bench soak", description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000, help="of the base (default %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="of changes and kills (default %(default)s)"
    )
    parser.add_argument("--changes", type=float, default=100.0, help="a second (default %(default)s)")
    parser.add_argument("--queries", type=float, default=5.0, help="a second (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, default=corpus.FOLDER, help="of the corpus (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/soak.json")
    options = parser.parse_args(list(arguments))
    plan = Plan(
        documents=options.documents,
        minutes=options.minutes,
        seed=options.seed,
        changes_s=options.changes,
        queries_s=options.queries,
        settings=default_settings(options.documents, encoder="hash:256"),
    )
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    figures = run(plan, _material(options.folder, plan), progress=_say)
    print(json.dumps(figures, indent=None if options.json else 1))
    if options.keep:
        _say(f"kept in {keep('soak', f'{plan.documents} documents', figures)}")
    if not (figures["agrees"] and figures["all_answered"]):
        raise SystemExit(1)


def _material(folder: Path, plan: Plan) -> Material:
    """Real vectors in the order of a stream in which half of the topics are born late."""
    whole = corpus.load(folder)
    wanted = plan.documents + int(plan.minutes * 60 * plan.changes_s * 0.75) + 1_000
    rows = drifting(whole, length=min(wanted, len(whole.vectors) * 3 // 4), seed=plan.seed).rows
    sentences = corpus.sentences_of(folder)
    return Material(whole.vectors[rows], [sentences[row] for row in rows], describe_encoder("hash:256").stamp)


def run(plan: Plan, material: Material, *, progress: Progress = print) -> dict[str, Any]:
    """The whole soak on a system of its own: figures, with `agrees` and `all_answered`; when not, data are kept."""
    data = Path(tempfile.mkdtemp(prefix="trieflow-soak-"))
    progress(f"data in {data}")
    with kafka(data, plan.settings) as settings:
        soak = Soak(plan, settings, material, progress)
        soak.run()
        figures = soak.figures()
    if figures["agrees"] and figures["all_answered"]:
        shutil.rmtree(data)
    else:
        progress(f"kept for a look: {data}")
    return figures


class Soak:
    """One run on a broker."""

    def __init__(self, plan: Plan, settings: Settings, material: Material, progress: Progress) -> None:
        self._plan = plan
        self._settings = settings
        self._progress = progress
        self._account = Account()
        self._stream = Stream(settings, self._account, material, seed=plan.seed)
        self._questions = Questions(settings, self._account, material, seed=plan.seed + 1)
        self._workers = Workers(settings, note=progress, seed=plan.seed)
        self._observer: Observer | None = None
        self._tails: list[Tail] = []
        self._comparisons: list[Comparison] = []
        self._fold = LogFold()
        self._seconds: dict[str, float] = {}
        self._told = 0.0

    def run(self) -> None:
        """Load, shake, wait, compare."""
        with ExitStack() as stack:
            stack.enter_context(self._workers)
            self._workers.wait_ready()
            self._observer = stack.enter_context(Observer(self._settings, self._settings.data / "observer"))
            for name, take in (("receipts", self._account.take_receipt), ("results", self._questions.take)):
                self._tails.append(stack.enter_context(Tail(self._settings, name, take)))
            with self._phase("load"):
                self._load()
            with self._phase("shake"):
                self._shake()
            with self._phase("settle"):
                self._settle()
            with self._phase("compare"):
                self._fold = fold_log(self._settings)
                self._compare_running()
        with self._phase("compare on disk"):
            self._comparisons += compare_shards(self._settings, self._fold)
        with self._phase("compare after a restart"):
            self._compare_restarted()

    # -- phases -----------------------------------------------------------------------------------------

    def _load(self) -> None:
        while self._stream.live < self._plan.documents:
            self._stream.load(self._plan.documents - self._stream.live)
            self._tell("load")
        self._wait(lambda: not self._account.waiting, "receipts of the base")

    def _shake(self) -> None:
        stopping = threading.Event()
        failures: list[BaseException] = []

        def ask() -> None:
            try:
                self._questions.ask(rate=self._plan.queries_s, stopping=stopping)
            except BaseException as error:
                failures.append(error)

        asking = threading.Thread(target=ask, name="questions", daemon=True)
        asking.start()
        until = time.monotonic() + self._plan.minutes * 60
        self._workers.kill_every(self._plan.kill_every_s)
        try:
            while time.monotonic() < until or not self._workers.each_role_was_killed():
                if time.monotonic() > until + PATIENCE_S:
                    raise SystemExit(f"killed workers do not come back; see {self._settings.data}")
                self._stream.change(rate=self._plan.changes_s)
                self._tell("shake")
        finally:
            self._workers.kill_every(None)
            stopping.set()
            asking.join()
        self._stream.close()
        if failures:
            raise failures[0]

    def _settle(self) -> None:
        self._wait(lambda: not self._account.waiting, "receipts")
        self._wait(lambda: not self._questions.waiting, "answers")
        self._workers.wait_ready()
        self._wait(self._is_quiet, "quiet")

    def _is_quiet(self) -> bool:
        """Nothing is fitted, moved or given ids, and no log grows."""
        assert self._observer is not None
        before = self._ends()
        deadline = time.monotonic() + QUIET_S
        while time.monotonic() < deadline:
            curator = self._workers.details("curator")
            if curator.get("moving") != 0 or curator.get("fitting") is not False:
                return False
            time.sleep(0.5)
        return self._observer.is_switched() and self._ends() == before

    def _ends(self) -> list[int]:
        places = [(n, p) for n in ("assignments", "moves") for p in range(self._settings.partitions)]
        return [
            end_offset(self._settings, topic=self._settings.topic(name), partition=p)
            for name, p in [*places, ("codebooks", 0)]
        ]

    def _compare_running(self) -> None:
        assert self._observer is not None
        self._comparisons.append(self._compare_account())
        self._comparisons.append(self._observer.compare(self._fold))
        self._compare_searchers(self._workers, "")
        for name in NAMES:
            if name.role != "indexer":
                documents = self._workers.details(name.role, name.worker).get("documents")
                said = Comparison(f"{name}, as it tells", documents=documents or 0)
                said.check(documents == len(self._fold.live()), f"{documents} documents")
                self._comparisons.append(said)

    def _compare_restarted(self) -> None:
        with Workers(self._settings, SEARCHERS, note=self._progress) as workers:
            workers.wait_ready()
            self._compare_searchers(workers, ", restarted")

    def _compare_searchers(self, workers: Workers, when: str) -> None:
        for name in SEARCHERS:
            label = f"{name} in memory{when}"
            held = workers.held(name)
            if held:
                self._comparisons.append(
                    compare_live(self._settings, self._fold, name=label, partition=held[0])
                )
            else:
                self._comparisons.append(Comparison(label, faults=1, shown=["it holds no partition"]))

    def _compare_account(self) -> Comparison:
        """The log against what was published: nothing is lost, nothing else is there."""
        said, live = Comparison("the log, against what was published"), self._fold.live()
        published = {document_id(number): (number, d) for number, d in self._account.documents.items()}
        said.documents = len(live)
        said.check_keys(live, (key for key, (_, d) in published.items() if d.live), "live documents")
        said.check_keys(self._fold.documents, published, "documents")
        for key, found in live.items():
            number, document = published[key]
            expected = {"number": number, "revision": document.revision}
            said.check(found.fields == expected, f"{key}: {found.fields}, not {expected}")
        said.check(not self._fold.given_twice, f"ids given twice: {self._fold.given_twice[:3]}")
        return said

    def figures(self) -> dict[str, Any]:
        """All that was counted, and what of it must be true."""
        asked = self._questions
        wrong = [*self._account.wrong, *asked.wrong]
        return {
            "agrees": not wrong and not any(said.faults for said in self._comparisons),
            "all_answered": not asked.errors and not asked.waiting and not asked.differing_repeats(),
            "seconds": {name: round(seconds, 1) for name, seconds in self._seconds.items()},
            "events": self._stream.count,
            "receipts": dict(self._account.statuses),
            "receipts_wrong": self._account.wrong[:20],
            "queries": query_figures(asked),
            "kills": kill_figures(self._workers.kills),
            "log": log_figures(self._fold),
            "curator": curator_figures(self._workers),
            "not_stopped_in_time": [str(name) for name in self._workers.killed_at_the_end],
            "errors_in_logs": errors_in_logs(self._workers),
            "replicas": {said.name: said.figures() for said in self._comparisons},
        }

    # -- waiting and telling ----------------------------------------------------------------------------

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        self._progress(f"{name} …")
        try:
            yield
        finally:
            self._seconds[name] = time.monotonic() - started

    def _wait(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise SystemExit(
                    f"no {what} within {PATIENCE_S:.0f} s; events {self._account.unanswered()}, "
                    f"{self._questions.waiting} queries; see {self._settings.data}"
                )
            self._tell(f"wait for {what}")
            time.sleep(0.2)

    def _tell(self, phase: str) -> None:
        for follower in (*self._tails, self._observer):
            if follower is not None:
                follower.check()
        if time.monotonic() - self._told < PROGRESS_S:
            return
        self._told = time.monotonic()
        curator = self._workers.details("curator")
        asked, killed = self._questions, self._workers.kills
        self._progress(
            f"{phase:<20} {self._stream.live:,} live, {self._stream.count:,} events, "
            f"{self._account.waiting:,} waiting; "
            f"{asked.count:,} queries, {asked.waiting} waiting, {sum(asked.errors.values())} errors, "
            f"{len(asked.wrong) + len(self._account.wrong)} wrong; epoch {curator.get('epoch')}, "
            f"moving {curator.get('moving')}, fitting {curator.get('fitting')}; {len(killed)} kills"
        )


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
