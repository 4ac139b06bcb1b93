"""Back to the epoch before while everybody dies: no answer is empty, no id is lost, no number is used again."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from streams.clients import producer
from streams.events.codebooks import LeafState, leaf_key
from streams.semantic_id import Leaf
from tests.recovery.questions import Questions
from tests.recovery.switching import SWITCH_S, active_epoch, assert_one_id_each
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from tests.recovery.workload import DocumentEvent, Workload
from trieflow.epochs import list_epochs, plan_roll_back, roll_back
from trieflow.replies import NoAnswerError

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(400)]

TITLE = "a golden trumpet that stays"
LEFT_BEHIND = [leaf_key(77, Leaf(0, 0, number).packed()) for number in range(20)]


def test_a_roll_back_through_kills_serves_the_epoch_before_with_every_document(
    new_system: Callable[..., System],
) -> None:
    settings = {"ids_from": "64", "documents_per_leaf": "8", "exact_up_to": "0", "refit_at": "2"}
    system = new_system(**{f"index__{name}": value for name, value in settings.items()})
    grown = Workload(seed=90, partitions=2)
    system.publish([DocumentEvent("stays", orjson.dumps({"title": TITLE}))])
    system.publish(grown.documents(80, prefix="early"))
    indexer, searcher, curator = (system.start(role) for role in ("indexer", "searcher", "curator"))
    searcher.wait_ready()
    eventually(lambda: active_epoch(system) == 1, SWITCH_S, what="epoch 1 is active")
    questions = Questions(system, deadline_s=60.0)
    with questions.under_way(TITLE, rate=10):
        system.publish(grown.documents(120, prefix="late"))
        eventually(lambda: active_epoch(system) == 2, SWITCH_S, what="epoch 2 is active")
        # Documents that come and change behind the switch have ids in both epochs.
        system.publish(grown.documents(40, prefix="behind"))
        with system.load(Workload(seed=91, partitions=2), rate=12):
            curator.kill()
            _leave_parts_of_an_epoch_behind(system)
            with pytest.raises(NoAnswerError):
                roll_back(system.settings, plan_roll_back(system.settings), timeout=0.5)
            # In the transaction, and behind it; then in the transaction that clears what is over.
            for crash_at in ("in-decision:1", "after-decision:1", "in-decision:1"):
                indexer.kill()
                assert system.start("curator", crash_at=crash_at).wait_exit() == -9
                indexer = system.start("indexer")
            assert active_epoch(system) == 1
            searcher.kill()
            searcher, curator = system.start("searcher"), system.start("curator")
            searcher.wait_ready()
        eventually(lambda: not _standing(system) & set(LEFT_BEHIND), SWITCH_S, what="the topic is cleared")
        assert_one_id_each(system, epoch=1)
        assert {line.epoch: line.state for line in list_epochs(system.settings)} == {
            1: "active",
            2: "retired",
        }

        # Nothing is due at once; when it is, the number is a new one, and the way back is open again.
        system.publish(grown.documents(400, prefix="more"))
        eventually(lambda: active_epoch(system) == 3, SWITCH_S, what="epoch 3 is active")
        assert_one_id_each(system, epoch=3)
        roll_back(system.settings, plan_roll_back(system.settings), timeout=SWITCH_S)
        assert_one_id_each(system, epoch=1)
    left = {"active", "epoch/1", "epoch/1/tree/0"}
    eventually(lambda: _trees(system) == left, SWITCH_S, what="only the tree that serves is left")
    answers = [answer for given in questions.results().values() for answer in given]
    assert {1, 2, 3} <= {answer.epoch for answer in answers}
    assert {answer.hits[0].title if answer.hits else None for answer in answers} == {TITLE}
    assert (indexer.stop(), curator.stop(), searcher.stop()) == (0, 0, 0)


def _leave_parts_of_an_epoch_behind(system: System) -> None:
    """As a curator that was killed before it had cleared an epoch."""
    writer = producer(system.settings)
    leaf = LeafState(centroid="", parent="0.0", size_at=0)
    for key in LEFT_BEHIND:
        writer.produce(system.settings.topic("codebooks"), key=key, value=leaf.to_json())
    assert writer.flush(30.0) == 0


def _standing(system: System) -> set[str]:
    """The keys that the compacted topic keeps."""
    latest = {(record.key or b"").decode(): record.value for record in system.records("codebooks")}
    return {key for key, value in latest.items() if value is not None}


def _trees(system: System) -> set[str]:
    """Those of them that are of no leaf."""
    return {key for key in _standing(system) if "/leaf/" not in key}
