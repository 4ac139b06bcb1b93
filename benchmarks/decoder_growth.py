"""What a decoder is worth while the tree grows under it: leaves are born that it has never seen.

Half of the topics are there when the tree is fitted and the decoder distilled; then documents come, four in five
of them of the other topics. Leaves are cut above four times the mean, as the curator does it, and, so that many
are young, above one and a half times the mean. Queries are told apart by whether most of their answers are old.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import corpus
from benchmarks.decoder_case import Case, exact, placed
from benchmarks.growing_tree import GrowingTree
from benchmarks.tables import markdown
from models.codebooks import Codebook, fit_codebook
from models.codebooks.growth import MEAN
from models.decoder.decoder import YOUNGER_FACTOR, Decoder
from models.decoder.levels import Floats, rows_of
from models.decoder.pairs import Sample
from models.decoder.scores import path_log_probabilities
from models.decoder.training import distil

CUT_ABOVE = (4 * MEAN, 3 * MEAN // 2)
GROWN = (0.25, 1.0)  # documents that came, as a share of those at the start
_NEW_TOPICS = 0.8
_A_BATCH = 64
_SEED = 0


@dataclass(frozen=True)
class _Stream:
    """vectors: those of the start, then those that come, in their order; `old` are there at the start."""

    vectors: Floats
    old: int


def grow(folder: Path, *, documents: int, queries: int) -> dict[str, Any]:
    """Recall by share of younger leaves, for old and for new documents."""
    whole = corpus.load(folder)
    stream = _stream(whole, documents)
    start = stream.vectors[: stream.old]
    tree = fit_codebook(start, epoch=1, stamp="corpus", leaves=stream.old // MEAN, seed=_SEED)
    paths = placed(tree, start)
    asked = np.random.default_rng(0).choice(stream.old, queries, replace=False)
    sample = Sample(
        start, paths, tree.leaves, tree.centroids, start[asked], asked, queries_are_documents=True
    )
    decoder = distil(sample, epoch=1, stamp="corpus").decoder
    rows = _measured(tree, decoder, stream, whole.queries, stream.old)
    for above in CUT_ABOVE:
        growing = GrowingTree(stream.vectors)
        growing.fit(len(tree), _SEED, first=stream.old)
        for share in GROWN:
            while growing.count < (1 + share) * stream.old:
                growing.insert(_A_BATCH)
                growing.split_above(above)
            rows += _measured(growing.book, decoder, stream, whole.queries, growing.count)
    print(markdown(list(rows[0]), [list(row.values()) for row in rows]))
    return {"documents at the start": stream.old, "rows": rows}


def _stream(whole: corpus.Corpus, documents: int) -> _Stream:
    """The start is of one half of the topics, the rest of both."""
    random = np.random.default_rng(0)
    early = np.isin(whole.topics, random.permutation(len(whole.topic_names))[: len(whole.topic_names) // 2])
    new = round(_NEW_TOPICS * documents)
    known, later = np.flatnonzero(early)[: 2 * documents - new], np.flatnonzero(~early)[:new]
    coming = random.permutation(np.concatenate([known[documents:], later]))
    rows = np.concatenate([known[:documents], coming])
    return _Stream(np.ascontiguousarray(whole.vectors[rows]), documents)


def _measured(
    tree: Codebook, decoder: Decoder, stream: _Stream, queries: Floats, there: int
) -> list[dict[str, Any]]:
    documents = stream.vectors[:there]
    best = exact(queries, documents)
    young = (best >= stream.old).mean(axis=1) > 0.5
    younger = float((rows_of(tree.leaves, decoder.nodes(2).prefixes) < 0).mean())
    paths = placed(tree, documents)
    rows = []
    for way, scores in _ways(tree, decoder, queries).items():
        row: dict[str, Any] = {"documents": there, "leaves": len(tree.leaves), "younger": younger, "way": way}
        for name, some in (("old", ~young), ("new", young)):
            case = Case(tree, documents, paths, queries[some], best[some], opened=(16,), members=2_000)
            found = case.measure(scores[some]) if some.any() else {}
            row |= {f"{name}, {at}": found.get(at) for at in ("16 leaves", "2000 documents")}
        rows.append(row)
    return rows


def _ways(tree: Codebook, decoder: Decoder, queries: Floats) -> dict[str, Floats]:
    geometry = queries @ tree.centroids.T
    learned = path_log_probabilities(
        queries,
        decoder.heads(queries),
        decoder.nodes,
        leaves=tree.leaves,
        centroids=tree.centroids,
        sharpness=decoder.description.sharpness,
    )[-1]
    weight = np.float32(decoder.description.weight)
    return {
        "geometry": geometry,
        "decoder alone": learned,
        "geometry + w · log p": geometry + weight * learned,
        f"geometry + w/{YOUNGER_FACTOR:.0f} · log p": geometry
        + weight / np.float32(YOUNGER_FACTOR) * learned,
    }
