"""kill -9 of the searcher while it answers: every query ends in an answer or a failure."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.events.impressions import Impression
from tests.recovery.invariants import assert_nothing_lost
from tests.recovery.questions import Questions, assert_repeats_are_recognised
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from tests.recovery.workload import Workload

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(240)]


def test_every_query_has_an_answer_or_a_failure_when_searchers_die_in_the_middle(
    new_system: Callable[..., System],
) -> None:
    system = new_system()
    system.publish(Workload(seed=21, partitions=2).take(100))
    system.start("indexer")
    # Warm: the first passage of the crash points below then falls into the load, not before it.
    searcher = system.start("searcher").wait_ready()
    truth = system.wait_for_receipts()
    title = next(iter(truth.live.values())).title
    questions = Questions(system, deadline_s=200.0)
    with questions.under_way(title):
        for crash_at in ("mid-answer:1", "mid-answer:20", "after-answer:5"):
            searcher.kill()
            searcher = system.start("searcher", crash_at=crash_at)
            assert searcher.wait_exit() == -9
        searcher = system.start("searcher").wait_ready()
    results = questions.results()
    found = {
        hits[0].title if (hits := result.hits) else None for given in results.values() for result in given
    }
    assert found == {title}
    assert assert_repeats_are_recognised(system) > 0, "a kill after the answer must repeat some"
    assert_nothing_lost(system)
    assert searcher.stop() == 0


def test_a_query_whose_searcher_comes_back_after_its_deadline_gets_a_failure(
    new_system: Callable[..., System],
) -> None:
    system = new_system()
    questions = Questions(system, deadline_s=1.0)
    searcher = system.start("searcher", crash_at="mid-answer:1").wait_ready()
    with questions.under_way(rate=10):
        assert searcher.wait_exit() == -9
    system.start("searcher")
    results = questions.results()
    # What waited while nobody lived expired before it was read; it is answered all the same.
    errors = {result.error.code for given in results.values() for result in given if result.error is not None}
    assert errors == {"expired"}
    assert_repeats_are_recognised(system)


def test_what_a_new_user_was_shown_is_told_though_the_searcher_died_before_it(
    new_system: Callable[..., System],
) -> None:
    system = new_system()
    system.start("indexer")
    assert system.client.publish("boot-1", {"title": "boots"}, wait=60.0).status == "indexed"
    searcher = system.start("searcher", crash_at="before-impression:1").wait_ready()
    asked = system.client.search_async("boots", user_id="anna", timeout=60.0)
    assert asked.result().hits, "the answer does not wait for the salt"
    assert searcher.wait_exit() == -9
    assert not system.records("impressions")
    searcher = system.start("searcher").wait_ready()
    eventually(lambda: system.records("impressions"), 60.0, what="the impression is there")
    (shown,) = (Impression.model_validate_json(r.value or b"") for r in system.records("impressions"))
    assert (shown.query_id, len(shown.user or "")) == (asked.key, 64)
    assert len(system.records("user-salts")) == 1
    assert searcher.stop() == 0
