"""The documents of `trieflow bench query`: sentences of the corpus, and vectors like those that the encoder makes.

`lite` encodes about 400 sentences a second, so most are not encoded: a linear map from the corpus's own vectors,
fitted on sentences that are, gives a vector, and the residual of another of these is added to it. Beyond the corpus
rows come again with other residuals. Leaves are the cells of random documents, recentred once: this measures speed
and size, no recall.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import faiss
import numpy as np

from benchmarks import corpus
from benchmarks.train_lite.progress import tracked
from models.codebooks import Codebook
from models.codebooks.fit import coded
from models.encoders.base import Encoder, EncoderDescription, TextPart
from streams.events.assignments import Assignment, EpochId, StampedVector
from streams.events.base import SourceAddress
from streams.semantic_id import Leaf, SemanticId

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

EPOCH = 1
ENCODED = 4_096
"""Sentences that are encoded, to fit the map."""
DOCUMENTS_A_LEAF = 32
FIRST_INSTANCE = 1 << 15
"""Instances of an id from here on: an indexer that starts empty gives those from 0 on."""
_AT_ONCE = 8_192
_BATCH = 64
_TOPICS_APART = 20  # a field with as many values


@dataclass(frozen=True)
class Documents:
    """Vectors (n, d) in 16 bits, mapped from disk; their packed leaves (n,), and the tree of these."""

    vectors: NDArray[np.float16]
    leaves: NDArray[np.int64]
    instances: NDArray[np.int64]
    book: Codebook
    sentences: list[str]
    topics: list[str]

    def __len__(self) -> int:
        return len(self.vectors)

    def assignment(self, row: int, *, text_of: int | None = None) -> Assignment:
        """What the log holds of a document; `text_of`: the row whose sentence it has instead of its own."""
        place = (row if text_of is None else text_of) % len(self.sentences)
        sentence, topic = self.sentences[place], self.topics[place]
        vector = self.vectors[row]
        identity = SemanticId.of(Leaf.unpacked(int(self.leaves[row])), int(self.instances[row]))
        return Assignment(
            ids=[EpochId(epoch=EPOCH, semantic_id=str(identity))],
            modality="text",
            vectors=[
                StampedVector.of(self.book.stamp, "text", vector),
                StampedVector.of(self.book.stamp, "fused", vector),
            ],
            fields={"source": topic, "length": len(sentence), "group": place % _TOPICS_APART},
            tags=[topic.split(".")[0]],
            language="en",
            title=" ".join(sentence.split()[:8]),
            text=sentence,
            content_hash=f"{row:016x}{place:016x}",
            source=SourceAddress(partition=0, offset=row),
        )


def document_id(row: int) -> str:
    """The id of a document that was there from the beginning."""
    return f"document-{row:08d}"


def prepared(
    folder: Path,
    *,
    count: int,
    corpus_folder: Path,
    description: EncoderDescription,
    encoder: Encoder | None = None,
) -> Documents:
    """The documents of a folder; with an encoder they are made where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = corpus.load(corpus_folder)
    sentences = corpus.sentences_of(corpus_folder)
    vectors_file, tree_file = folder / f"vectors-{count}.npy", folder / f"tree-{count}.npz"
    if encoder is not None and not vectors_file.exists():
        _write_vectors(vectors_file, whole.vectors, sentences, encoder=encoder, count=count)
    vectors = np.load(vectors_file, mmap_mode="r")
    if not tree_file.exists():
        _write_tree(tree_file, vectors)
    tree = np.load(tree_file)
    return Documents(
        vectors=vectors,
        leaves=tree["leaves"],
        instances=tree["instances"],
        book=Codebook.of(
            tree["codes"], tree["centroids"], epoch=EPOCH, stamp=description.stamp, fitted_on=count
        ),
        sentences=sentences,
        topics=[whole.topic_names[topic] for topic in whole.topics],
    )


def _write_vectors(file: Path, known: Vectors, sentences: list[str], *, encoder: Encoder, count: int) -> None:
    random = np.random.default_rng(0)
    parts = [TextPart(sentence) for sentence in sentences[:ENCODED]]
    starts = tracked(range(0, ENCODED, _BATCH), total=ENCODED // _BATCH, label="encode sentences")
    encoded = np.concatenate(
        [encoder.encode(parts[at : at + _BATCH], side="document").vectors for at in starts]
    )
    mapped, residuals = _mapped(known[:ENCODED], encoded)
    lengths = np.linalg.norm(encoded, axis=1)
    unfinished = file.with_suffix(".unfinished")
    rows = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.float16, shape=(count, encoded.shape[1]))
    for at in range(0, count, _AT_ONCE):
        places = np.arange(at, min(count, at + _AT_ONCE))
        made = _with_one(known[places % len(known)]) @ mapped
        made += residuals[random.integers(ENCODED, size=len(places))]
        made *= np.median(lengths) / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-6)
        rows[places] = made
    rows.flush()
    os.replace(unfinished, file)


def _mapped(known: Vectors, encoded: Vectors) -> tuple[Vectors, Vectors]:
    """The linear map from vectors of the corpus to those of the encoder, and what it leaves of the encoded."""
    wide = _with_one(known)
    mapped = np.linalg.solve(wide.T @ wide + np.eye(wide.shape[1], dtype=np.float32), wide.T @ encoded)
    return mapped.astype(np.float32), (encoded - wide @ mapped).astype(np.float32)


def _with_one(rows: Vectors) -> Vectors:
    return np.concatenate([rows, np.ones((len(rows), 1), dtype=np.float32)], axis=1)


def _write_tree(file: Path, vectors: NDArray[np.float16]) -> None:
    """Cells of random documents: a tree like a fitted one in size, made in minutes."""
    random = np.random.default_rng(1)
    chosen = np.sort(random.permutation(len(vectors))[: max(2, len(vectors) // DOCUMENTS_A_LEAF)])
    centroids = np.unique(vectors[chosen].astype(np.float32), axis=0)
    nearest = _nearest(vectors, centroids)
    counts = np.bincount(nearest, minlength=len(centroids))
    kept = np.flatnonzero(counts)
    codes = coded(centroids[kept], seed=0)
    means = np.zeros_like(centroids)
    for at in range(0, len(vectors), _AT_ONCE):
        np.add.at(means, nearest[at : at + _AT_ONCE], vectors[at : at + _AT_ONCE].astype(np.float32))
    numbers = np.full(len(centroids), -1)
    numbers[kept] = np.arange(len(kept))
    by_leaf = np.argsort(nearest, kind="stable")
    instances = np.empty(len(vectors), dtype=np.int64)
    instances[by_leaf] = np.arange(len(vectors)) - np.repeat(np.cumsum(counts) - counts, counts)
    unfinished = file.with_suffix(".unfinished.npz")
    np.savez(
        unfinished,
        codes=codes,
        centroids=means[kept] / counts[kept, None].astype(np.float32),
        leaves=codes[numbers[nearest]],
        instances=FIRST_INSTANCE + instances,
    )
    os.replace(unfinished, file)


def _nearest(vectors: NDArray[np.float16], centroids: Vectors) -> NDArray[np.int64]:
    """The nearest centroid of each vector, about: those of the nearest eight of √L groups are looked at."""
    groups = max(1, round(len(centroids) ** 0.5))
    quantizer = faiss.IndexFlatL2(centroids.shape[1])
    index = faiss.IndexIVFFlat(quantizer, centroids.shape[1], groups)
    index.cp.max_points_per_centroid = 64
    index.train(centroids)
    index.add(centroids)
    index.nprobe = min(8, groups)
    found = np.empty(len(vectors), dtype=np.int64)
    starts = range(0, len(vectors), _AT_ONCE)
    for at in tracked(starts, total=len(starts), label="find leaves     "):
        rows = vectors[at : at + _AT_ONCE].astype(np.float32)
        found[at : at + len(rows)] = index.search(rows, 1)[1][:, 0]
    return found
