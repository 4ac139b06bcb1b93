from __future__ import annotations

from pathlib import Path

import pytest

from state.allocation import PROVISIONAL_EPOCH, Allocator
from state.shard import Shard
from streams.errors import StateError
from streams.semantic_id import INSTANCES, Leaf, SemanticId
from tests.log_records import assigned, assignment_of, deleted

NEAR, FAR = Leaf(3, 17, 402), Leaf(3, 17, 9)


@pytest.fixture
def shard(tmp_path: Path):
    with Shard.open(tmp_path / "shard") as opened:
        yield opened


def test_codes_go_up_in_the_residue_class_of_the_partition(shard: Shard) -> None:
    allocator = Allocator(shard, partition=3, partitions=8)
    assert [allocator.allocate(1, [NEAR]).instance for _ in range(3)] == [3, 11, 19]
    assert allocator.allocate(2, [NEAR]).instance == 3
    assert allocator.allocate(1, [FAR, NEAR]) == SemanticId.of(FAR, 3)


def test_an_applied_batch_stays_given_and_a_discarded_one_is_free_again(shard: Shard) -> None:
    allocator = Allocator(shard, partition=1, partitions=4)
    first = allocator.allocate(1, [NEAR])
    shard.apply([assigned("a", assignment_of({1: first.packed()}), offset=0)])
    second = allocator.allocate(1, [NEAR])
    allocator.discard()
    assert allocator.allocate(1, [NEAR]) == second
    assert Allocator(shard, partition=1, partitions=4).allocate(1, [NEAR]).instance == 5


def test_a_deleted_code_is_not_handed_out_again(shard: Shard) -> None:
    code = Allocator(shard, partition=0, partitions=2).allocate(1, [NEAR])
    shard.apply([assigned("a", assignment_of({1: code.packed()}), offset=0)])
    shard.apply([deleted("a", {1: code.packed()}, offset=1)])
    assert Allocator(shard, partition=0, partitions=2).allocate(1, [NEAR]).instance == 2


def test_a_full_leaf_sends_the_document_to_the_next_best(shard: Shard) -> None:
    last = SemanticId.of(NEAR, INSTANCES - 1).packed()
    shard.apply([assigned("a", assignment_of({1: last}), offset=0)])
    allocator = Allocator(shard, partition=7, partitions=8)
    assert allocator.allocate(1, [NEAR, FAR]) == SemanticId.of(FAR, 7)
    with pytest.raises(StateError, match="a refit with more leaves makes room"):
        allocator.allocate(1, [NEAR])


def test_the_last_code_of_a_leaf_is_given(shard: Shard) -> None:
    last_but_one = SemanticId.of(NEAR, INSTANCES - 9).packed()
    shard.apply([assigned("a", assignment_of({1: last_but_one}), offset=0)])
    assert Allocator(shard, partition=7, partitions=8).allocate(1, [NEAR, FAR]).instance == INSTANCES - 1


@pytest.mark.parametrize(("partitions", "share"), [(1, 256), (8, 32), (3, 86), (1024, 1)])
def test_provisional_leaves_are_filled_one_after_the_other(shard: Shard, partitions: int, share: int) -> None:
    allocator = Allocator(shard, partition=partitions - 1, partitions=partitions)
    given = [allocator.allocate_provisional() for _ in range(share + 1)]
    assert {code.leaf for code in given[:-1]} == {Leaf(0, 0, 0)}
    assert given[-1] == SemanticId(0, 0, 1, partitions - 1)
    assert next(allocator.provisional_leaves()) == Leaf(0, 0, 2 if share == 1 else 1)


def test_provisional_ids_go_on_after_a_restart(shard: Shard) -> None:
    allocator = Allocator(shard, partition=0, partitions=128)
    codes = [allocator.allocate_provisional() for _ in range(3)]
    shard.apply(
        [
            assigned(f"d{i}", assignment_of({PROVISIONAL_EPOCH: c.packed()}), offset=i)
            for i, c in enumerate(codes)
        ]
    )
    assert Allocator(shard, partition=0, partitions=128).allocate_provisional() == SemanticId(0, 0, 1, 128)


@pytest.mark.parametrize(("partition", "partitions"), [(-1, 4), (4, 4), (0, 0)])
def test_a_partition_outside_the_topic_is_refused(shard: Shard, partition: int, partitions: int) -> None:
    with pytest.raises(ValueError, match="owns no instance codes"):
        Allocator(shard, partition=partition, partitions=partitions)
