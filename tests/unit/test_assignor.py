"""The assignor: a topic that the brokers do not tell of yet is an error, not a topic without a reader."""

from __future__ import annotations

from types import SimpleNamespace

import faust
import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.protocol.metadata import MetadataResponse_v1

from agents.assignor import complete_assignor
from streams.errors import BrokerError


def brokers_tell_of(**topics: int) -> ClusterMetadata:
    """The metadata of one broker: the partitions of each topic."""
    cluster = ClusterMetadata()
    told = [
        (0, name, False, [(0, number, 1, [1], [1]) for number in range(partitions)])
        for name, partitions in topics.items()
    ]
    cluster.update_metadata(MetadataResponse_v1([(1, "127.0.0.1", 9092, None)], 1, told))
    return cluster


@pytest.mark.parametrize("told", [{"documents": 2}, {"documents": 2, "moves": 1}, {"moves": 3}, {}])
def test_an_incomplete_view_of_the_cluster_is_an_error(told: dict[str, int]) -> None:
    app = faust.App("assignor-test", broker="kafka://127.0.0.1:9", store="memory://")
    assignor = complete_assignor(2)(app)
    members = {"a": SimpleNamespace(subscription=["documents", "moves"], user_data=b"")}
    with pytest.raises(BrokerError, match="moves"):
        assignor.assign(brokers_tell_of(**told), members)


def test_a_complete_view_is_shared_out_by_faust() -> None:
    app = faust.App("assignor-test", broker="kafka://127.0.0.1:9", store="memory://")
    assignor = complete_assignor(2)(app)
    metadata = assignor.metadata({"documents", "moves"})
    shared = assignor.assign(brokers_tell_of(documents=2, moves=2), {"a": metadata, "b": metadata})
    held = {member: sorted(assignment.assignment) for member, assignment in shared.items()}
    assert sorted(held) == ["a", "b"]
    partitions = [partitions for topics in held.values() for _, partitions in topics]
    assert sorted(map(sorted, partitions)) == [[0], [0], [1], [1]]
