"""Leaves are split and documents moved while indexer, curator and searcher die: each document keeps one id."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.events.codebooks import LeafState, parse_key
from streams.semantic_id import SemanticId
from tests.recovery.invariants import assert_nothing_lost, everything, latest_assignments
from tests.recovery.questions import Questions
from tests.recovery.system import System
from tests.recovery.waiting import eventually
from tests.recovery.workload import Workload

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(280)]

QUIET_S = 90.0
SPLIT_ABOVE = 256
EPOCH = 1


def test_splits_and_moves_survive_kills_and_everybody_agrees_in_the_end(
    new_system: Callable[..., System],
) -> None:
    # A tree of two leaves for 64 documents, then 900 documents: both leaves have to be split.
    settings = {"ids_from": "64", "documents_per_leaf": "32", "exact_up_to": "100000"}
    system = new_system(**{f"index__{name}": value for name, value in settings.items()})
    workload = Workload(seed=80, partitions=2)
    system.publish(workload.documents(64, prefix="early"))
    indexer, curator, searcher = (system.start(role) for role in ("indexer", "curator", "searcher"))
    searcher.wait_ready()
    eventually(lambda: _active(system), QUIET_S, what="the first tree is active")

    questions = Questions(system, deadline_s=60.0)
    with questions.under_way("a red lamp", rate=10), system.load(Workload(seed=81, partitions=2), rate=12):
        system.publish(workload.documents(400, prefix="more"))
        eventually(lambda: _leaves(system), QUIET_S, what="a leaf is split")
        curator.kill()
        indexer.kill()
        system.publish(workload.documents(300, prefix="still"))
        # A kill behind the transaction that moves a document, before the shard has it.
        assert system.start("indexer", crash_at="5-6:6").wait_exit() == -9
        indexer, curator = system.start("indexer"), system.start("curator")
        system.publish(workload.documents(100, prefix="late"))
        searcher.kill()
        searcher = system.start("searcher")
        searcher.wait_ready()
    truth = assert_nothing_lost(system, searched=False)
    eventually(lambda: _sizes(system, _gone(system)) <= {SPLIT_ABOVE}, QUIET_S, what="no leaf is too large")

    def agrees() -> bool:
        assigned = {key: assignment.id_in(EPOCH) for key, assignment in latest_assignments(system).items()}
        return {key: hit.semantic_id for key, hit in everything(system).items()} == assigned

    eventually(agrees, QUIET_S, what="the searcher has every document under the id of the log")
    assert_nothing_lost(system)
    assigned = [assignment.id_in(EPOCH) for assignment in latest_assignments(system).values()]
    assert None not in assigned
    assert len(set(assigned)) == len(truth.live)
    assert all(answer.error is None for given in questions.results().values() for answer in given)
    assert (indexer.stop(), curator.stop(), searcher.stop()) == (0, 0, 0)


def _active(system: System) -> bool:
    return any(record.key == b"active" for record in system.records("codebooks"))


def _leaves(system: System) -> dict[int, LeafState]:
    """The last state of every leaf that changed."""
    found = {}
    for record in system.records("codebooks"):
        leaf = parse_key(record.key or b"").leaf
        if leaf is not None and record.value is not None:
            found[leaf] = LeafState.model_validate_json(record.value)
    return found


def _gone(system: System) -> set[int]:
    return {leaf for leaf, state in _leaves(system).items() if state.gone}


def _sizes(system: System, gone: set[int]) -> set[int]:
    """Sizes above the limit, and the limit; a document in a leaf that is gone counts as too many."""
    counts: dict[int, int] = {}
    for assignment in latest_assignments(system).values():
        leaf = SemanticId.parse(assignment.id_in(EPOCH) or "").packed() >> 16
        counts[leaf] = counts.get(leaf, 0) + (SPLIT_ABOVE + 1 if leaf in gone else 1)
    return {max(size, SPLIT_ABOVE) for size in counts.values()} or {SPLIT_ABOVE}
