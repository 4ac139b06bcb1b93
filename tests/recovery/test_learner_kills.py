"""kill -9 of the learner in every gap between its steps, and of an active one beside another that stands by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from streams.broker import EmbeddedBroker
from tests.recovery.clicks import Clicks
from tests.recovery.system import System
from tests.recovery.waiting import eventually

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(240)]

PLACES = ("3-4", "in-transaction", "4-5", "5-6")
PASSAGES = (1, 4)
_SETTLED_S = 60.0

seeds = count(1)


@pytest.fixture(scope="module")
def learned(
    broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[System, Clicks]]:
    """One system for all places; its first click is learned, so that all else is expected to be clicked."""
    with System(broker.bootstrap, tmp_path_factory.mktemp("learner"), learning__batch="8") as system:
        clicks = Clicks(system, seed=0)
        clicks.one()
        learner = system.start("learner").wait_ready()
        eventually(clicks.remembered, _SETTLED_S, what="the first click is remembered")
        assert learner.stop() == 0
        yield system, clicks


def assert_learned(clicks: Clicks) -> None:
    """The memory comes to what was clicked and expected, each once."""
    eventually(lambda: clicks.remembered() == clicks.truth(), _SETTLED_S, what="all of it is learned")


@pytest.mark.parametrize("place", PLACES)
def test_a_learner_killed_between_two_steps_counts_all_and_nothing_twice(
    learned: tuple[System, Clicks], place: str
) -> None:
    system, clicks = learned
    for passage in PASSAGES:
        clicks.many(40)
        assert system.start("learner", crash_at=f"{place}:{passage}").wait_exit() == -9
    clicks.many(20)
    learner = system.start("learner").wait_ready()
    assert_learned(clicks)
    assert learner.stop() == 0


def test_another_learner_takes_over_and_knows_what_the_first_one_knew(
    new_system: Callable[..., System],
) -> None:
    system = new_system(learning__batch="8")
    clicks = Clicks(system, seed=next(seeds))
    clicks.one()
    first = system.start("learner", "a").wait_ready()
    eventually(clicks.remembered, _SETTLED_S, what="the first click is remembered")
    second = system.start("learner", "b").wait_ready()
    clicks.many(60)
    assert_learned(clicks)
    assert (len(first.held()), len(second.held())) == (2, 0)
    first.kill()
    clicks.many(60)
    assert_learned(clicks)
    assert len(second.held()) == 2
    assert second.stop() == 0


def test_bad_feedback_is_a_dead_letter_and_what_stands_beside_it_counts(
    new_system: Callable[..., System],
) -> None:
    system = new_system(learning__batch="8")
    clicks = Clicks(system, seed=next(seeds))
    clicks.one()
    learner = system.start("learner").wait_ready()
    eventually(clicks.remembered, _SETTLED_S, what="the first click is remembered")
    system.producer.produce(system.settings.topic("feedback"), key=b"first", value=b"no json")
    system.producer.produce(system.settings.topic("impressions"), key=b"other", value=b'{"query_id": "q"}')
    clicks.many(20)
    assert_learned(clicks)
    codes = {
        dict(record.headers)["__streams.errors.exception"]
        for name in ("impressions.dlq", "feedback.dlq")
        for record in system.records(name)
    }
    assert codes == {b"not_json", b"schema"}
    assert learner.stop() == 0
