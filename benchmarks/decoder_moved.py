"""`trieflow bench decoder --moved`: whether a decoder has to learn from clicks what the adapter learned from them.

Drawings, asked with names, as they are encoded and as an adapter moves them: it was trained on simulated clicks of
the same encoder (benchmarks/learning). The exact answers are those of the query as it is asked. A decoder that was
distilled from moved names has seen what an adapter does; the one that serves has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.decoder_case import Case, exact, of_drawings
from benchmarks.learning.adapters import Recipe, make_adapter, make_lesson
from benchmarks.learning.study import Size, Study
from benchmarks.tables import markdown
from models.adapter.adapter import QueryAdapter
from models.decoder.levels import Floats
from models.decoder.pairs import Sample
from models.decoder.scores import path_log_probabilities
from models.decoder.training import distil
from models.encoders.registry import load_encoder

CLICKS = 5_000
SEEDS = (3, 4, 5)


def moved(folder: Path, *, queries: int) -> list[dict[str, Any]]:
    """Recall of the exact best ten within so many documents, for each adapter, query and decoder."""
    case, sample = of_drawings(folder, queries=queries)
    encoder, typed = load_encoder("lite", threads=2), _Scores(case, sample)
    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        study = Study(seed, encoder, Size(CLICKS))
        made = make_adapter(study, make_lesson(study, study.training), Recipe())
        there = _moved(case, made.adapter)
        both = np.concatenate([sample.queries, made.adapter(sample.queries)])
        seen = replace(sample, queries=both, own=np.tile(sample.own, 2))
        rows += _rows(seed, "as encoded", case, {"geometry": case.geometry, "from names": typed.of(case)})
        trained = {"geometry": there.geometry, "from names": typed.of(there)}
        trained["from names, also as moved"] = _Scores(case, seen).of(there)
        rows += _rows(seed, f"moved, {made.share:.2f} of an adapter", there, trained)
        print(markdown(list(rows[0]), [list(row.values()) for row in rows[-5:]]), flush=True)
    return rows


class _Scores:
    """geometry + w · log p, by a decoder that was distilled from a sample."""

    def __init__(self, case: Case, sample: Sample) -> None:
        self._decoder = distil(sample, epoch=1, stamp=case.tree.stamp).decoder

    def of(self, case: Case) -> Floats:
        """(m, L) for the queries of a case."""
        description = self._decoder.description
        learned = path_log_probabilities(
            case.queries,
            self._decoder.heads(case.queries),
            self._decoder.nodes,
            leaves=case.tree.leaves,
            centroids=case.tree.centroids,
            sharpness=description.sharpness,
        )[-1]
        return np.asarray(case.geometry + np.float32(description.weight) * learned)


def _moved(case: Case, adapter: QueryAdapter) -> Case:
    """The same names as an adapter moves them; what is right for them then."""
    queries = adapter(case.queries)
    return replace(case, queries=queries, best=exact(queries, case.documents))


def _rows(seed: int, asked: str, case: Case, ways: Mapping[str, Floats]) -> list[dict[str, Any]]:
    return [
        {"seed": seed, "asked": asked, "distilled": way, **case.measure(scores)}
        for way, scores in ways.items()
    ]
