"""Mean and spread of scores of random pairs, by kind, so that kinds can be compared in one ranking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.train_lite.prepared import SEED, Prepared
from models.encoders.lite_head import LiteHead, raw_features

_PAIRS = 20_000


def calibrations(head: LiteHead, prepared: Prepared) -> dict[str, tuple[float, float]]:
    """Over random names and tags in all languages, and over OpenMoji's drawings, which were not trained on."""
    texts = head.texts(np.stack([prepared.texts[text] for text in sorted(prepared.texts)]))
    pictures = head.pictures(prepared.openmoji_outputs)
    raw = raw_features(prepared.openmoji_outputs)
    queries = {"text": _with(texts, 1.0), "image": _with(pictures, 1.0)}
    documents = {"text": _with(texts, 0.0), "image": np.concatenate([pictures, head.hub(pictures)], axis=1)}
    kinds = [(query, document) for query in queries for document in documents]
    measured = {
        f"{query}>{document}": _mean_and_spread(queries[query], documents[document])
        for query, document in kinds
    }
    return measured | {"image>raw": _mean_and_spread(raw, raw)}


def _mean_and_spread(queries: NDArray[np.float32], documents: NDArray[np.float32]) -> tuple[float, float]:
    random = np.random.default_rng(SEED)
    left, right = random.integers(len(queries), size=_PAIRS), random.integers(len(documents), size=_PAIRS)
    # The same row twice is no random pair.
    chosen = left != right
    scores = np.einsum("nd,nd->n", queries[left[chosen]], documents[right[chosen]])
    return round(float(scores.mean()), 4), round(float(scores.std()), 4)


def _with(vectors: NDArray[np.float32], last: float) -> NDArray[np.float32]:
    return np.concatenate([vectors, np.full((len(vectors), 1), last, np.float32)], axis=1)
