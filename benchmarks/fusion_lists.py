"""What each path finds for the queries of a task: exact vectors of the default encoder, and the lexical index."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.fusion_tasks import Item, Task
from models.encoders.base import Encoder, Part, PicturePart, TextPart
from state.fusion import RankedList
from state.lexical import LexicalDocument, LexicalIndex

DEPTH = 200
"""Documents in a list: as many as a search scores exactly."""
_BATCH = 64
_KINDS = ("text", "image")


@dataclass(frozen=True)
class Found:
    """The lists of one query."""

    dense: RankedList
    lexical: RankedList


def lists_of(task: Task, *, encoder: Encoder, index: LexicalIndex, folder: Path) -> list[Found]:
    """One for each query of the task; vectors are kept in `folder`."""
    numbers = {document.document_id: number for number, document in enumerate(task.documents)}
    scores = _dense_scores(task, encoder, folder)
    found = []
    for ask, row in zip(task.asks, scores, strict=True):
        own = numbers.get(ask.own or "", -1)
        best = np.argsort(-row, kind="stable")[: DEPTH + 1]
        best = best[(best != own) & np.isfinite(row[best])][:DEPTH]
        slots, shares = index.search(ask.text, DEPTH + 1)
        kept = slots != own
        found.append(
            Found(
                RankedList("dense", best.astype(np.int64), row[best]),
                RankedList("lexical", slots[kept][:DEPTH], shares[kept][:DEPTH]),
            )
        )
    return found


@contextmanager
def lexical_index(documents: Sequence[Item]) -> Iterator[LexicalIndex]:
    """The texts of these documents, in slots of their order."""
    with tempfile.TemporaryDirectory() as folder:
        index = LexicalIndex(Path(folder))
        texts = [
            LexicalDocument(document.document_id, slot, text=document.text, language=document.language)
            for slot, document in enumerate(documents)
        ]
        index.apply(texts, positions={})
        assert index.flush(timeout_s=300)
        yield index
        index.close()


def _dense_scores(task: Task, encoder: Encoder, folder: Path) -> NDArray[np.float32]:
    """Calibrated scores (queries, documents): the best over a document's vectors, -inf where it has none."""
    rows = _kept(
        folder / _name("documents of " + task.pool, encoder), lambda: _document_rows(task.documents, encoder)
    )
    queries = _kept(
        folder / _name("queries of " + task.name, encoder),
        lambda: {"vectors": _encoded([TextPart(ask.text) for ask in task.asks], encoder, side="query")},
    )["vectors"]
    known = [encoder.description.calibration[f"text>{kind}"] for kind in _KINDS]
    means = np.array([each.mean for each in known], dtype=np.float32)[rows["kinds"]]
    spreads = np.array([each.spread for each in known], dtype=np.float32)[rows["kinds"]]
    products = (queries @ rows["vectors"].T - means) / spreads
    scores = np.full((len(queries), len(task.documents)), -np.inf, dtype=np.float32)
    owners = rows["owners"]  # rising
    first = np.flatnonzero(np.diff(owners, prepend=-1))
    scores[:, owners[first]] = np.maximum.reduceat(products, first, axis=1)
    return scores


def _document_rows(documents: Sequence[Item], encoder: Encoder) -> dict[str, NDArray[np.generic]]:
    parts: list[Part | Item] = []
    owners, kinds = [], []
    for number, document in enumerate(documents):
        texts = encoder.passages(document.text) if document.text else []
        pictures = [document] if document.picture is not None else []
        parts += [*map(TextPart, texts), *pictures]
        owners += [number] * (len(texts) + len(pictures))
        kinds += [0] * len(texts) + [1] * len(pictures)
    vectors = _encoded(parts, encoder, side="document").astype(np.float16)  # as they are stored
    return {"vectors": vectors.astype(np.float32), "owners": np.array(owners), "kinds": np.array(kinds)}


def _encoded(parts: Sequence[Part | Item], encoder: Encoder, *, side: str) -> NDArray[np.float32]:
    batches = [
        [_part(part) for part in parts[start : start + _BATCH]] for start in range(0, len(parts), _BATCH)
    ]
    side_of = "query" if side == "query" else "document"
    return np.concatenate([encoder.encode(batch, side=side_of).vectors for batch in batches])


def _part(part: Part | Item) -> Part:
    if not isinstance(part, Item):
        return part
    assert part.picture is not None
    data = part.picture if isinstance(part.picture, bytes) else part.picture.read_bytes()
    return PicturePart(Image.open(io.BytesIO(data)).convert("RGB"))


def _name(what: str, encoder: Encoder) -> str:
    return hashlib.sha256(f"{what} {encoder.description.stamp}".encode()).hexdigest()[:16] + ".npz"


def _kept(path: Path, make) -> Mapping[str, NDArray]:
    """What was computed before, or now."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **make())
    return dict(np.load(path))
