"""kill -9 of a learner that forgets somebody, in every gap between its steps; and after it has lost its disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from streams.broker import EmbeddedBroker
from streams.events.forgetting import ForgetReceipt
from tests.recovery.clicks import Clicks
from tests.recovery.system import System
from tests.recovery.test_learner_kills import PLACES, assert_learned
from tests.recovery.waiting import eventually

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(240)]

_SETTLED_S = 60.0


@pytest.fixture(scope="module")
def learned(
    broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[System, Clicks]]:
    """One system for all places; its first click is learned, so that all else is expected to be clicked."""
    with System(broker.bootstrap, tmp_path_factory.mktemp("forgetful"), learning__batch="8") as system:
        clicks = Clicks(system, seed=99)
        clicks.one()
        learner = system.start("learner").wait_ready()
        eventually(clicks.remembered, _SETTLED_S, what="the first click is remembered")
        assert learner.stop() == 0
        yield system, clicks


def receipts(system: System, request_id: str) -> list[ForgetReceipt]:
    found = [ForgetReceipt.model_validate_json(each.value or b"") for each in system.records("forgotten")]
    return [each for each in found if each.request_id == request_id]


@pytest.mark.parametrize("place", PLACES)
def test_a_learner_killed_while_it_forgets_ends_where_nobody_was(
    learned: tuple[System, Clicks], place: str
) -> None:
    system, clicks = learned
    person = f"{place} ".ljust(64, "0")
    clicks.of_somebody(person, 20)
    clicks.many(10)
    learner = system.start("learner").wait_ready()
    eventually(
        lambda: clicks.remembered().keys() >= clicks.truth().keys(), _SETTLED_S, what="all is taken in"
    )
    assert learner.stop() == 0
    request_id = clicks.forget(person)
    clicks.of_somebody(person, 10)  # of searchers that do not know it yet
    assert system.start("learner", crash_at=f"{place}:1").wait_exit() == -9
    clicks.many(10)
    learner = system.start("learner").wait_ready()
    assert_learned(clicks)
    assert receipts(system, request_id)
    assert learner.stop() == 0


def test_a_learner_that_lost_its_disk_finds_nobody_again(learned: tuple[System, Clicks]) -> None:
    system, clicks = learned
    person = "lost".ljust(64, "0")
    clicks.of_somebody(person, 20)
    request_id = clicks.forget(person)
    clicks.of_somebody(person, 20)
    learner = system.start("learner").wait_ready()
    eventually(lambda: receipts(system, request_id), _SETTLED_S, what="the request is answered")
    assert_learned(clicks)
    learner.kill()
    shutil.rmtree(system.folder("learner"))
    clicks.many(10)
    learner = system.start("learner").wait_ready()
    assert_learned(clicks)
    assert learner.stop() == 0
    assert len(receipts(system, request_id)) == 2, "the request was carried out again"
