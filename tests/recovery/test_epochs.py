"""A new epoch of ids while indexer and curator die: in the end each document has one id, and nobody noticed."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from tests.recovery.questions import Questions
from tests.recovery.switching import SWITCH_S, active_epoch, assert_one_id_each
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from tests.recovery.workload import DocumentEvent, Workload

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(280)]

TITLE = "a golden trumpet that stays"


def test_killed_indexers_and_curators_finish_the_switch_to_a_new_epoch(
    new_system: Callable[..., System],
) -> None:
    settings = {"ids_from": "64", "documents_per_leaf": "8", "exact_up_to": "0", "refit_at": "2"}
    system = new_system(**{f"index__{name}": value for name, value in settings.items()})
    grown = Workload(seed=70, partitions=2)
    system.publish([DocumentEvent("stays", orjson.dumps({"title": TITLE}))])
    system.publish(grown.documents(100, prefix="early"))
    indexer = system.start("indexer")
    system.start("searcher").wait_ready()
    system.wait_for_receipts()
    questions = Questions(system, deadline_s=60.0)
    with questions.under_way(TITLE, rate=10):
        # The tree is published and nobody gives ids: indexer and curator are gone.
        indexer.kill()
        curator = system.start("curator")
        eventually(lambda: _keys(system) >= {"epoch/1"}, SWITCH_S, what="a tree is published")
        curator.kill()
        # Two partitions make two re-ids and two completions: one kill in the first, one behind each kind.
        for crash_at in ("in-5:1", "5-6:1", "6-7:1", "5-6:1"):
            assert system.start("indexer", crash_at=crash_at).wait_exit() == -9
        indexer = system.start("indexer")
        curator = system.start("curator")
        eventually(lambda: active_epoch(system) == 1, SWITCH_S, what="epoch 1 is active")
        assert_one_id_each(system, epoch=1)

        # And again under load, with plain kills at whatever they were doing.
        with system.load(Workload(seed=71, partitions=2), rate=20):
            system.publish(grown.documents(160, prefix="late"))
            eventually(lambda: _keys(system) >= {"epoch/2"}, SWITCH_S, what="a second tree is published")
            indexer.kill()
            curator.kill()
            indexer, curator = system.start("indexer"), system.start("curator")
            eventually(lambda: active_epoch(system) == 2, SWITCH_S, what="epoch 2 is active")
        assert_one_id_each(system, epoch=2)
    answers = [answer for given in questions.results().values() for answer in given]
    assert {answer.epoch for answer in answers} == {0, 1, 2}
    assert {answer.mode for answer in answers} == {"dense", "generative"}
    assert {answer.hits[0].title if answer.hits else None for answer in answers} == {TITLE}
    assert (indexer.stop(), curator.stop()) == (0, 0)


def _keys(system: System) -> set[str]:
    return {(record.key or b"").decode() for record in system.records("codebooks")}
