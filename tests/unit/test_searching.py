"""Searching one index by parts in different roles: exactly, through the tree, by words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from agents.asked import QueryVector, Serving
from agents.codebook_log import Codebooks
from agents.dense_path import DenseFeed
from agents.found import Found
from agents.searching import Searching
from models.decoder.decoder import NETWORK_FILE, Decoder, Nodes
from models.encoders.base import Calibration
from models.encoders.hash import HashEncoder
from models.ranking.ranker import NOTHING_LEARNED, Ranker
from models.ranking.weights import Authority, ClickRate, Freshness, Ranking, Words
from state.clicks.memory import ClickMemory
from state.fusion import FusionWeights, MeasureWeight
from state.lexical import LexicalDocument, LexicalIndex
from state.live_index import LiveDocument, LiveIndex
from state.shard import Shard
from streams.events.assignments import StampedVector
from streams.events.click_memory import RememberedClicks
from streams.events.queries import Hit, PartRole, Query, SearchMode
from streams.semantic_id import Leaf, SemanticId
from streams.settings import IndexSettings, SearchSettings, Settings
from tests.decoders import random_decoder
from tests.recovery.waiting import eventually

Part = tuple[str, PartRole]

WORDS = ("red", "blue", "car", "van")
AXES = dict(zip(WORDS, np.eye(8, dtype=np.float32), strict=False))
NAMES = ("red car", "blue car", "red van", "blue van", "red", "car", "other")
LEAVES = np.array([Leaf(0, number, 0).packed() for number in range(len(NAMES))])
VECTOR_MODES = pytest.mark.parametrize("mode", ["dense", "generative"])


class Tree:
    """Only its being there counts."""


def vector(words: str) -> np.ndarray:
    known = [AXES[word] for word in words.split() if word in AXES]
    return np.sum([*known, 0.1 * np.eye(8, dtype=np.float32)[7]], axis=0, dtype=np.float32)


@pytest.fixture
def searching(tmp_path: Path) -> Iterator[Searching]:
    with searching_with(Settings(), tmp_path) as made:
        yield made


@contextmanager
def searching_with(
    settings: Settings, tmp_path: Path, *, decoder: Decoder | None = None
) -> Iterator[Searching]:
    index = LiveIndex(8)
    index.activate(1)
    # A little longer each, so that no two leaves are equally near to a document.
    centroids = np.stack([vector(name) * (1 + 0.01 * place) for place, name in enumerate(NAMES)])
    index.set_tree(1, LEAVES, centroids)
    documents = [
        LiveDocument(
            name, {1: SemanticId.of(Leaf.unpacked(leaf), 0).packed()}, [("text", vector(name))], "text"
        )
        for name, leaf in zip(NAMES, LEAVES.tolist(), strict=True)
    ]
    index.apply(documents)
    lexical = LexicalIndex(tmp_path / "lexical")
    slots = {name: index.slot_of(name) for name in NAMES}
    lexical.apply([LexicalDocument(name, slots[name], title=name) for name in NAMES], positions={0: 1})
    assert lexical.flush(timeout_s=120)
    # A document that has a word scores 4 on it, another 0.
    description = replace(HashEncoder().description, calibration={"text>text": Calibration(0.0, 0.25)})
    with Shard.open(tmp_path / "shard") as shard:
        dense = DenseFeed(settings, tmp_path, index=index, stamp=description.stamp)
        dense.note(documents)
        dense.load()
        eventually(lambda: dense.behind == 0, 120, what="the graph has all documents")
        made = Searching(
            settings,
            encoder=description,
            index=index,
            shard=shard,
            lexical=lexical,
            dense=dense,
            memory=ClickMemory(8, stamp=description.stamp),
            hash_word=str,
            as_query=lambda vectors: vectors,
        )
        if decoder is not None:
            index.learn(1, [decoder.nodes(level) for level in range(3)])
            made.use(Serving("test", 1, decoder, decoder.description.weight))
        yield made
        dense.close()
    lexical.close()


def decoder_that_likes(*names: str) -> Decoder:
    """Whatever is asked; the first one most."""
    made = random_decoder(LEAVES, dimension=8, epoch=1)
    liked = {int(LEAVES[NAMES.index(name)]): 60.0 - 10 * place for place, name in enumerate(names)}
    nodes = []
    for level, bits_below in enumerate((20, 12, 0)):
        prefixes, embeddings, _ = made.nodes(level)
        biases = [max(liked.get(leaf, 0) for leaf in LEAVES if leaf >> bits_below == of) for of in prefixes]
        nodes.append(Nodes(prefixes, np.zeros_like(embeddings), np.array(biases, dtype=np.float32)))
    return Decoder(made.description, network=made.to_files()[NETWORK_FILE], nodes=nodes)


def hits(searching: Searching, mode: SearchMode, *parts: Part) -> list[Hit]:
    asked = [{"text": text, "role": role} for text, role in parts]
    query = Query.model_validate({"parts": asked, "mode": mode, "explain": True})
    vectors = [QueryVector("text", AXES[text], None, 1.0, role) for text, role in parts]
    return searching.search(query, lambda: vectors, Codebooks(trees={1: Tree()}, active=1)).hits


def found(searching: Searching, mode: SearchMode, *parts: Part) -> list[str]:
    return [hit.document_id for hit in hits(searching, mode, *parts)]


@VECTOR_MODES
def test_all_of_several_come_before_one_of_them(searching: Searching, mode: SearchMode):
    names = found(searching, mode, ("red", "and"), ("car", "and"))
    assert names[0] == "red car"
    assert set(names[1:5]) == {"red", "car", "blue car", "red van"}


@VECTOR_MODES
def test_any_one_of_several_is_enough(searching: Searching, mode: SearchMode):
    names = found(searching, mode, ("red", "or"), ("blue", "or"), ("car", "and"))
    assert set(names[:2]) == {"red car", "blue car"}


@VECTOR_MODES
def test_what_is_left_out_comes_behind_what_has_nothing_to_do_with_it(searching: Searching, mode: SearchMode):
    names = found(searching, mode, ("red", "and"), ("car", "not"))
    assert set(names[:2]) == {"red", "red van"}
    assert names.index("other") < names.index("car")


def test_words_that_are_left_out_take_away_what_words_bring(searching: Searching):
    names = found(searching, "lexical", ("red", "and"), ("car", "not"))
    assert set(names[:2]) == {"red", "red van"}
    assert set(names[2:]) <= {"red car"}


def test_words_cannot_bring_back_what_vectors_leave_out(searching: Searching):
    [*_, last] = [
        hit for hit in hits(searching, "auto", ("red", "and"), ("car", "not")) if "red" in hit.document_id
    ]
    assert last.document_id == "red car"
    assert (last.parts or {})["not"] == pytest.approx(-2.0, abs=0.1)


def test_all_paths_together_keep_what_is_left_out_behind(searching: Searching):
    names = found(searching, "auto", ("red", "or"), ("blue", "or"), ("car", "not"))
    assert set(names[:3]) == {"red", "red van", "blue van"}


def test_weights_of_the_paths_count_from_the_next_query_on(searching: Searching):
    before = (hits(searching, "auto", ("red", "and"))[0].parts or {})["lexical"]
    searching.fuse_by(FusionWeights(lexical=MeasureWeight(weight=5.0, power=2.0, missing="nothing")))
    after = (hits(searching, "auto", ("red", "and"))[0].parts or {})["lexical"]
    assert before == pytest.approx(4 * after)


@pytest.mark.parametrize("mode", ["auto", "dense", "generative", "lexical"])
def test_what_is_explained_sums_to_the_score(searching: Searching, mode: SearchMode):
    for hit in hits(searching, mode, ("red", "and"), ("blue", "or"), ("car", "or"), ("van", "not")):
        assert sum((hit.parts or {}).values()) == pytest.approx(hit.score, abs=1e-5)


@pytest.mark.parametrize(
    ("generation", "opened"),
    [("geometry", ["red car", "red"]), ("decoder", ["blue van"]), ("seeds", ["red van"])],
)
def test_one_leaf_is_opened_by_geometry_or_the_decoder_or_the_decoder_among_those_of_near_documents(
    tmp_path: Path, generation: Literal["geometry", "decoder", "seeds"], opened: list[str]
):
    search = SearchSettings(generation=generation, leaves=1, members=1, shortlist=2)
    settings = Settings(index=IndexSettings(exact_up_to=0), search=search)
    asked = QueryVector("text", vector("red car") - AXES["car"] / 2 - AXES["van"] / 4, None, 1.0)
    query = Query.model_validate({"parts": [{"text": "red"}], "mode": "generative", "top_k": 2})
    with searching_with(settings, tmp_path, decoder=decoder_that_likes("blue van", "red van")) as searching:
        hits = searching.search(query, lambda: [asked], Codebooks(trees={1: Tree()}, active=1)).hits
    assert [hit.document_id for hit in hits] == opened


@pytest.mark.parametrize(
    ("share", "found"), [(0.0, {"red", "red car", "red van", "other"}), (1.0, set(NAMES))]
)
def test_where_leaves_look_wrong_more_are_opened_and_the_graph_is_asked(
    tmp_path: Path, share: float, found: set[str]
):
    search = SearchSettings(generation="geometry", leaves=1, members=1, shortlist=7, unsure_share=share)
    settings = Settings(index=IndexSettings(exact_up_to=0), search=search)
    query = Query.model_validate({"parts": [{"text": "x"}], "mode": "generative", "top_k": 7})
    with searching_with(settings, tmp_path) as searching:

        def ask(direction: np.ndarray) -> set[str]:
            asked = QueryVector("text", direction.astype(np.float32), None, 1.0)
            hits = searching.search(query, lambda: [asked], Codebooks(trees={1: Tree()}, active=1)).hits
            return {hit.document_id for hit in hits}

        for _ in range(80):  # what later queries are compared with: one document is nearer than all others
            ask(AXES["red"] + AXES["car"])
        assert ask(AXES["red"] + 0.01 * AXES["car"] + 0.002 * AXES["van"]) == found


def test_fine_ranking_adds_its_parts_and_changes_the_order(tmp_path: Path):
    now = datetime.now(UTC)
    ranking = Ranking(
        freshness=Freshness(weight=80.0, half_life_d=10),
        authority=Authority(weight=1.0, field="cited", quantiles=(0.0, 10.0)),
        click_rate=ClickRate(weight=2.0, prior=4.0, rate=0.0),
        words=Words(weight=0.5),
    )
    query = Query.model_validate({"parts": [{"text": "red"}], "mode": "auto", "explain": True})
    asked = [QueryVector("text", AXES["red"], None, 1.0, is_typed=True)]
    with searching_with(Settings(), tmp_path) as searching:
        index, memory = searching._index, searching._memory
        known: dict[str, tuple[datetime | None, int | None]] = {
            "red": (now - timedelta(days=1_000), 0),
            "red car": (now - timedelta(days=10), 11),
            "red van": (None, None),
        }
        leaves = dict(zip(NAMES, LEAVES.tolist(), strict=True))
        index.apply(
            LiveDocument(
                name,
                {1: SemanticId.of(Leaf.unpacked(leaves[name]), 0).packed()},
                [("text", vector(name))],
                "text",
                fields={} if cited is None else {"cited": cited},
                published_at=published,
            )
            for name, (published, cited) in known.items()
        )
        clicked = StampedVector.of(HashEncoder().description.stamp, "fused", AXES["van"])
        memory.take("query/1", RememberedClicks(vector=clicked, documents={"red van": (3.0, 4.0)}))

        def answer(ranker: Ranker) -> Found:
            return searching.search(
                query, lambda: asked, Codebooks(trees={1: Tree()}, active=1), ranker=ranker
            )

        before, after = answer(NOTHING_LEARNED), answer(Ranker(None, ranking))
    plain = {hit.document_id: hit for hit in before.hits}
    found = {hit.document_id: hit.parts or {} for hit in after.hits}
    assert [plain["red"].position, plain["red car"].position > 1] == [1, True]
    assert after.hits[0].document_id == "red car"
    assert found["red car"]["freshness"] == pytest.approx(40.0, rel=1e-3)
    assert found["red"]["freshness"] == pytest.approx(0.0, abs=1e-6)
    assert found["red van"]["freshness"] == 0.0
    assert [found[name]["authority"] for name in known] == [0.25, 1.0, 0.0]
    assert [found[name]["click_rate"] for name in known] == [0.0, 0.0, 2 * 3 / 8]
    for hit in after.hits:
        parts, alone = hit.parts or {}, plain[hit.document_id]
        assert sum(parts.values()) == pytest.approx(hit.score)
        assert parts["words"] == pytest.approx(0.5 * parts.get("lexical", 0.0))
        relevance = after.relevances[hit.document_id]
        assert relevance == before.relevances[hit.document_id]
        assert (relevance.score, relevance.lexical) == (alone.score, parts.get("lexical", 0.0))
        assert "freshness" not in (alone.parts or {})
