"""A decoder from what an index holds: training in its own process, killed in between, and served by the index."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from agents import distilling
from agents.distilling import Distiller
from agents.model_log import FUSION_FILE, fusion_weights
from agents.trees import IndexTrees
from models.bundles import Bundle, Manifest
from models.codebooks import Codebook, fit_codebook
from models.encoders.base import TextPart
from models.encoders.hash import HashEncoder
from state.live_documents import fill
from state.live_index import LiveIndex
from state.records import LogRecord
from state.routing import Learned
from state.shard import Shard
from state.vector_rows import ScoringPart, ScoringQuery
from streams.events.assignments import Assignment, EpochId, StampedVector
from streams.events.base import SourceAddress
from streams.semantic_id import INSTANCE_BITS, SemanticId
from streams.settings import load_settings

pytestmark = pytest.mark.integration

DOCUMENTS, EPOCH, PATIENCE_S = 1_500, 1, 200.0
FUSION = '{"rank_constant": 61.0}'
COLOURS, THINGS = (
    ("red", "green", "blue", "white", "black"),
    ("boots", "lamp", "kettle", "guitar", "piano", "teapot"),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[LiveIndex, Shard, Codebook, HashEncoder]:
    encoder, random = HashEncoder(64), np.random.default_rng(0)
    titles = [
        f"{random.choice(COLOURS)} {random.choice(THINGS)} number {number % 97} of {random.choice(THINGS)}"
        for number in range(DOCUMENTS)
    ]
    vectors = encoder.encode([TextPart(title) for title in titles], side="document").vectors
    tree = fit_codebook(vectors, epoch=EPOCH, stamp=encoder.description.stamp, leaves=40, seed=0)
    nearest = tree.nearest(vectors, 1)[0][:, 0].tolist()
    shard = Shard.open(tmp_path_factory.mktemp("shard") / "replica")
    shard.apply(
        [
            _record(number, title, vectors[number], nearest[number], tree.stamp)
            for number, title in enumerate(titles)
        ]
    )
    index = LiveIndex(64)
    index.activate(EPOCH)
    IndexTrees(index).fitted(tree)
    fill(index, shard, stamp=tree.stamp)
    return index, shard, tree, encoder


def _record(number: int, title: str, vector: np.ndarray, leaf: int, stamp: str) -> LogRecord:
    packed = SemanticId.unpacked(leaf << INSTANCE_BITS | number)
    assignment = Assignment(
        ids=[EpochId(epoch=EPOCH, semantic_id=str(packed))],
        modality="text",
        vectors=[StampedVector.of(stamp, "text", vector)],
        title=title,
        content_hash=str(number),
        source=SourceAddress(topic="documents", partition=0, offset=number),
    )
    return LogRecord(0, number, f"d{number}", assignment, None)


def _distiller(world: tuple[LiveIndex, Shard, Codebook, HashEncoder], folder: Path) -> Distiller:
    index, shard, tree, _ = world
    return Distiller(
        load_settings(encoder="hash:64"), index=index, shard=shard, stamp=tree.stamp, folder=folder
    )


def test_nothing_is_trained_where_too_few_documents_have_titles(
    world: tuple[LiveIndex, Shard, Codebook, HashEncoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distilling, "FEWEST_QUERIES", DOCUMENTS + 1)
    distiller = _distiller(world, tmp_path)
    distiller.start(world[2])
    assert not distiller.is_running
    assert distiller.finished() is None
    assert not list(tmp_path.rglob("*.safetensors"))


def _finished(distiller: Distiller, *, parent: Bundle) -> Bundle:
    deadline = time.monotonic() + PATIENCE_S
    while (bundle := distiller.finished(parent=parent)) is None:
        assert distiller.is_running
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return bundle


def test_a_decoder_is_trained_beside_the_index_and_serves_it(
    world: tuple[LiveIndex, Shard, Codebook, HashEncoder], tmp_path: Path
) -> None:
    index, _, tree, encoder = world
    distiller = _distiller(world, tmp_path / "distil")
    distiller.start(tree)
    time.sleep(1.0)
    distiller.stop()  # as if it were killed: what stands in the folder is gone on with
    distiller = _distiller(world, tmp_path / "distil")
    distiller.start(tree)
    served = Bundle.of(
        Manifest(name="query", version="before", encoder_stamp=tree.stamp), {FUSION_FILE: FUSION.encode()}
    )
    bundle = _finished(distiller, parent=served)
    assert bundle.manifest.codebook_epoch == EPOCH
    assert bundle.manifest.parent == "query@before"
    assert fusion_weights(bundle).rank_constant == 61.0
    decoder = bundle.decoder(epoch=EPOCH)
    assert decoder is not None

    index.learn(EPOCH, [decoder.nodes(level) for level in range(3)])
    path = index.path(EPOCH)
    assert path.younger() == 0.0
    query = encoder.encode([TextPart("a green teapot")], side="query").vectors[0]
    learned = Learned(decoder.heads(query[None, :]), decoder.weight(), decoder.description.sharpness)
    scoring = ScoringQuery([ScoringPart(query)]).arrays(64)
    with index.reading():
        found = path.search(
            index.rows_arrays, scoring, query, leaves=8, members=4_000, shortlist=10, learned=learned
        )
        probabilities = path.probabilities(index.rows_arrays, scoring, query, found.slots, learned=learned)
    assert len(found.slots) == 10
    assert all(each is not None and 0 < each.product <= 1 for each in probabilities)
    assert distiller.finished() is None
    distiller.start(tree)
    assert not distiller.is_running, "a tree has one decoder"
