"""A tree of several parts on a real broker: from the content store, from the log, or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import structlog

from agents.codebook_log import CodebookLog
from agents.content_store import ContentStore
from agents.published_trees import tree_event, tree_parts
from models.codebooks import Codebook
from streams.broker import EmbeddedBroker
from streams.clients import producer
from streams.errors import ModelError
from streams.events.base import Event
from streams.events.codebooks import ACTIVE_KEY, ActiveEpoch, epoch_key, part_key
from streams.settings import Settings, load_settings
from streams.topics import create_topics
from tests.recovery.waiting import eventually

pytestmark = pytest.mark.integration

Records = Sequence[tuple[str, Event | None]]
STAMP, LEAVES, DIMENSION = "test@1/float32", 3_000, 512


@pytest.fixture
def settings(broker: EmbeddedBroker, tmp_path: Path) -> Settings:
    prefix = f"trees-{uuid.uuid4().hex[:8]}."
    settings = load_settings(brokers=broker.bootstrap, prefix=prefix, partitions=2, data=tmp_path)
    create_topics(settings)
    return settings


@pytest.fixture
def tree() -> Codebook:
    random = np.random.default_rng(5)
    centroids = random.standard_normal((LEAVES, DIMENSION)).astype(np.float16).astype(np.float32)
    return Codebook.of(np.arange(LEAVES) * 7, centroids, epoch=1, stamp=STAMP, fitted_on=LEAVES)


def write(settings: Settings, records: Records) -> None:
    writer = producer(settings)
    for key, event in records:
        writer.produce(settings.topic("codebooks"), key=key, value=event.to_json() if event else None)
    assert writer.flush(30) == 0


def published(settings: Settings, tree: Codebook) -> Records:
    """What the curator writes of a tree, which it has put into the store before."""
    data = tree.to_bytes()
    uri = ContentStore(settings.content_store).put("codebooks/tree", data)
    parts = [(part_key(1, number), part) for number, part in enumerate(tree_parts(data))]
    assert len(parts) == 5
    record = (epoch_key(1), tree_event(tree, data, uri=uri, reason="first"))
    return [*parts, record, (ACTIVE_KEY, ActiveEpoch(epoch=1))]


def read(settings: Settings) -> tuple[Codebook, list[str]]:
    """The tree as a worker gets it at its start, and what it had to say."""
    codebooks = CodebookLog(settings, ContentStore(settings.content_store), stamp=STAMP)
    with structlog.testing.capture_logs() as logs:
        codebooks.start()
    codebooks.stop()
    return codebooks.current.trees[1], [line["event"] for line in logs if line["log_level"] == "warning"]


def assert_same(one: Codebook, other: Codebook) -> None:
    assert np.array_equal(one.leaves, other.leaves)
    assert np.array_equal(one.centroids, other.centroids)


def test_a_tree_is_taken_from_the_store_and_from_the_log_when_it_is_lost_or_damaged(
    settings: Settings, tree: Codebook, tmp_path: Path
) -> None:
    write(settings, published(settings, tree))
    [file] = tmp_path.rglob("codebooks/tree")
    found, warnings = read(settings)
    assert_same(found, tree)
    assert warnings == []
    file.write_bytes(file.read_bytes()[:-1])
    for _ in ("damaged", "lost"):
        found, warnings = read(settings)
        assert_same(found, tree)
        assert warnings == ["a tree is read from the log: it is not in the content store"]
        file.unlink(missing_ok=True)


def test_a_worker_that_runs_takes_a_new_tree_from_the_log(settings: Settings, tree: Codebook) -> None:
    codebooks = CodebookLog(settings, ContentStore("memory://nobody-wrote-here"), stamp=STAMP)
    codebooks.start()
    write(settings, published(settings, tree))
    codebooks.catch_up()
    eventually(lambda: 1 in codebooks.current.trees, 30, what="the tree is taken")
    codebooks.stop()
    assert_same(codebooks.current.trees[1], tree)


def test_parts_that_a_killed_curator_left_do_not_get_into_the_tree(
    settings: Settings, tree: Codebook, tmp_path: Path
) -> None:
    other = next(tree_parts(b"of another tree"))
    write(settings, [(part_key(1, number), other) for number in range(9)])
    write(settings, published(settings, tree))
    next(iter(tmp_path.rglob("codebooks/tree"))).unlink()
    assert_same(read(settings)[0], tree)


def test_a_tree_that_is_whole_nowhere_is_a_clear_error(
    settings: Settings, tree: Codebook, tmp_path: Path
) -> None:
    records = published(settings, tree)
    write(settings, [*records[:2], (part_key(1, 1), None), *records[2:]])
    next(iter(tmp_path.rglob("codebooks/tree"))).unlink()
    with pytest.raises(ModelError, match="epoch 1 is missing"):
        read(settings)
