"""Disks that are wiped, or that come back as they were long ago: the log rebuilds what stood on them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

import pytest

from streams.events.codebooks import ACTIVE_KEY
from streams.events.queries import Hit, Result, SearchMode
from tests.recovery.invariants import assert_nothing_lost, everything
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from tests.recovery.workload import Workload

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(240)]

QUESTIONS = ("red boots", "green kettle and a piano", "white")


def test_wiped_disks_of_indexer_and_searcher_are_rebuilt_with_the_same_answers(
    new_system: Callable[..., System],
) -> None:
    system = new_system()
    workload = Workload(seed=41, partitions=2)
    system.publish(workload.take(200))
    indexer, searcher = system.start("indexer"), system.start("searcher")
    assert_nothing_lost(system)
    log, before, all_before = len(system.records("assignments")), _answers(system), everything(system)

    indexer.kill()
    searcher.kill()
    for role in ("indexer", "searcher"):
        shutil.rmtree(system.folder(role))
    system.start("searcher").wait_ready()
    system.start("indexer").wait_ready()
    assert _answers(system) == before
    assert everything(system).keys() == all_before.keys()
    assert len(system.records("assignments")) == log

    system.publish(workload.take(100))
    assert_nothing_lost(system)


def test_a_lost_content_store_takes_no_tree_with_it(new_system: Callable[..., System]) -> None:
    system = new_system(index__ids_from="64", index__documents_per_leaf="8", index__exact_up_to="0")
    workload = Workload(seed=43, partitions=2)
    system.publish(workload.documents(120, prefix="kept"))
    indexer = system.start("indexer")
    # Killed when the parts of the tree are in the log, and its record is not.
    assert system.start("curator", crash_at="after-decision:1").wait_exit() == -9
    searcher, curator = system.start("searcher"), system.start("curator")
    active = ACTIVE_KEY.encode()
    eventually(
        lambda: any(record.key == active for record in system.records("codebooks")),
        90.0,
        what="a tree serves",
    )
    assert_nothing_lost(system)
    eventually(lambda: _epochs(system) == {1}, 90.0, what="the searcher serves it")
    before = [_settled(system, question, mode="generative").hits for question in QUESTIONS]
    assert all(before)

    for worker in (indexer, searcher, curator):
        worker.kill()
    shutil.rmtree(system.data / "content")
    for role in ("indexer", "searcher"):
        shutil.rmtree(system.folder(role))
    for role in ("indexer", "curator", "searcher"):
        system.start(role).wait_ready()
    eventually(lambda: _epochs(system) == {1}, 90.0, what="the searcher serves it again")
    after = [_settled(system, question, mode="generative").hits for question in QUESTIONS]
    assert [[_shown(hit) for hit in hits or ()] for hits in after] == [
        [_shown(hit) for hit in hits or ()] for hits in before
    ]
    system.publish(workload.documents(40, prefix="new"))
    assert_nothing_lost(system)


def test_a_shard_that_comes_back_as_it_was_long_ago_gives_no_id_twice(
    new_system: Callable[..., System],
) -> None:
    system = new_system()
    workload = Workload(seed=42, partitions=2, documents=80)
    system.start("searcher")
    system.publish(workload.take(60))
    home = system.start("indexer", "home")
    system.wait_for_receipts()
    assert home.stop() == 0
    old_copy = system.data / "old-copy"
    shutil.copytree(system.folder("indexer", "home"), old_copy)

    # Elsewhere the partitions go on ...
    away = system.start("indexer", "away")
    system.publish(workload.take(150))
    system.wait_for_receipts()
    assert away.stop() == 0

    # ... and come back to a disk that knows nothing of it.
    shutil.rmtree(system.folder("indexer", "home"))
    old_copy.rename(system.folder("indexer", "home"))
    system.start("indexer", "home")
    system.publish(workload.take(150))
    assert_nothing_lost(system)


def _epochs(system: System) -> set[int | None]:
    """The epochs in which the searcher answers, once it has read the whole log."""
    everything(system)
    return {_settled(system, question, mode="generative").epoch for question in QUESTIONS}


def _answers(system: System) -> list[object]:
    """Hits, ids and scores (to six digits) of some questions by meaning, and who has their words.

    The scores of words are left out: their statistics count removed documents until files are merged.
    """
    everything(system)  # the replica has the whole log
    return [
        [_shown(hit) for hit in _settled(system, question, mode="dense").hits or ()] for question in QUESTIONS
    ] + [
        {hit.document_id for hit in _settled(system, question, mode="lexical").hits or ()}
        for question in QUESTIONS
    ]


def _settled(system: System, question: str, *, mode: SearchMode) -> Result:
    """An answer of which each path says that it has taken in everything."""
    while True:  # the test has a time limit
        answer = system.client.search(question, top_k=100, mode=mode, timeout=30.0)
        if answer.behind is None:
            return answer
        time.sleep(0.1)


def _shown(hit: Hit) -> tuple[str, str | None, float]:
    return hit.document_id, hit.semantic_id, round(hit.score, 6)
