"""The id that a new Kafka is given."""

from __future__ import annotations

from streams.broker.embedded import cluster_id


def test_no_cluster_id_looks_like_an_option():
    made = [cluster_id() for _ in range(2_000)]  # one in 64 would begin so by chance
    assert {len(each) for each in made} == {22}
    assert not any(each.startswith("-") for each in made)
    assert len(set(made)) == 2_000
