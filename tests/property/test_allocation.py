"""Partitions allocate side by side, lose batches and start again; no code is ever published twice."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from state.allocation import Allocator
from state.shard import Shard
from streams.semantic_id import Leaf, SemanticId
from tests.log_records import assigned, assignment_of

LEAVES = [Leaf(0, 0, k) for k in range(3)]
batches = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.lists(st.sampled_from([*LEAVES, None]), min_size=1, max_size=8),
        st.sampled_from(["published", "discarded", "published, then a new allocator"]),
    ),
    max_size=12,
)


@settings(max_examples=12, deadline=None)
@given(batches=batches)
def test_no_code_is_published_twice_and_each_belongs_to_its_partition(
    batches: list[tuple[int, list[Leaf | None], str]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shards = [Shard.open(Path(folder) / str(p)) for p in range(3)]
        allocators = [Allocator(shard, partition=p, partitions=3) for p, shard in enumerate(shards)]
        published: dict[tuple[int, SemanticId], int] = {}
        for partition, wishes, ending in batches:
            given = [
                (0, allocators[partition].allocate_provisional())
                if wish is None
                else (1, allocators[partition].allocate(1, [wish]))
                for wish in wishes
            ]
            if ending == "discarded":
                allocators[partition].discard()
                continue
            assert not published.keys() & set(given)
            assert len(set(given)) == len(given)
            published |= dict.fromkeys(given, partition)
            start = shards[partition].position(partition)
            shards[partition].apply(
                [
                    assigned(
                        f"{epoch} {code}",
                        assignment_of({epoch: code.packed()}),
                        offset=start + i,
                        partition=partition,
                    )
                    for i, (epoch, code) in enumerate(given)
                ]
            )
            if ending != "published":
                allocators[partition] = Allocator(shards[partition], partition=partition, partitions=3)
        for (_, code), partition in published.items():
            assert code.instance % 3 == partition
        for shard in shards:
            shard.close()
