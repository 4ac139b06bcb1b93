"""`trieflow bench decoder`: three ways from the vector of a query to leaves, and what each part of training brings.

First the ways that `search.generation` offers, as a searcher goes them, with the time of one query. Then what each
score and each part of training is worth: recall of the exact best ten in the best leaves of the whole tree, and in
as many leaves as hold so many documents. Two cases, both of real vectors: sentences asked with sentences, and
drawings asked with names in twelve languages (`--drawings`). `--growth` lets the tree grow under a decoder that
stays as it is; `--moved` asks as an adapter moves queries; `--cost` times its parts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks import corpus
from benchmarks.decoder_case import Case, of_corpus, of_drawings
from benchmarks.decoder_cost import cost
from benchmarks.decoder_growth import grow
from benchmarks.decoder_moved import moved
from benchmarks.decoder_serving import served
from benchmarks.tables import keep, markdown
from models.decoder.levels import Floats
from models.decoder.losses import LossWeights
from models.decoder.pairs import Neighbours, Sample, exact_neighbours
from models.decoder.scores import path_log_probabilities
from models.decoder.training import DistillationOptions, Distilled, distil
from streams.settings import Settings

_CHOSEN = DistillationOptions()
ABLATION: Mapping[str, DistillationOptions] = {
    "not trained: geometry in 64 numbers": replace(_CHOSEN, epochs=0),
    "+ own path, noise added (0.2)": replace(_CHOSEN, loss=LossWeights(own=0.2)),
    "+ contrastive (0.5)": replace(_CHOSEN, loss=LossWeights(contrastive=0.5)),
    "+ alignment (0.2)": replace(_CHOSEN, loss=LossWeights(alignment=0.2)),
    "own path alone": replace(_CHOSEN, loss=LossWeights(generation=0.0, own=1.0)),
    "contrastive alone": replace(_CHOSEN, loss=LossWeights(generation=0.0, contrastive=1.0)),
    "all answers weigh the same": replace(_CHOSEN, teacher_temperature=1e3),
    "128 numbers a node": replace(_CHOSEN, width=128),
    "another seed": replace(_CHOSEN, seed=1),
}


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Measure and print tables. Writes `benchmarks/results/decoder.json` with `--keep`."""
    options = _options(arguments)
    faiss.omp_set_num_threads(1)
    _one_thread()
    figures: Any
    if options.cost:
        figures, part = cost(rounds=options.rounds), "cost"
    elif options.moved:
        figures, part = moved(options.folder, queries=options.queries), "moved"
    elif options.growth:
        figures, part = grow(options.folder, documents=options.documents, queries=options.queries), "growth"
    elif options.drawings:
        case, sample = of_drawings(options.folder, queries=options.queries)
        figures, part = _compared(case, sample, settings, options.rounds, _other_names(sample)), "drawings"
    else:
        case, sample = of_corpus(options.folder, documents=options.documents, queries=options.queries)
        figures, part = _compared(case, sample, settings, options.rounds, _fewer_and_more(sample)), "corpus"
    if options.keep:
        print(f"kept in {keep('decoder', part, figures)}")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="trieflow bench decoder", description=__doc__)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--drawings", action="store_true", help="drawings asked with names, not sentences")
    part.add_argument("--growth", action="store_true", help="leaves that were born after training")
    part.add_argument("--moved", action="store_true", help="queries that an adapter moved")
    part.add_argument("--cost", action="store_true", help="time of one query")
    parser.add_argument("--documents", type=int, default=32_768, help="of the corpus (default %(default)s)")
    parser.add_argument("--queries", type=int, default=8_000, help="to train on (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of what is timed (default %(default)s)")
    parser.add_argument("--folder", type=Path, default=corpus.FOLDER, help="where vectors are kept")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/decoder.json")
    return parser.parse_args(list(arguments))


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@dataclass(frozen=True)
class _Trained:
    distilled: Distilled
    learned: Floats
    seconds: float

    @property
    def weight(self) -> np.float32:
        return np.float32(self.distilled.tuned.weight)


def _trained(case: Case, sample: Sample, neighbours: Neighbours, options: DistillationOptions) -> _Trained:
    began = time.perf_counter()
    distilled = distil(sample, epoch=1, stamp=case.tree.stamp, options=options, neighbours=neighbours)
    seconds = time.perf_counter() - began
    decoder = distilled.decoder
    learned = path_log_probabilities(
        case.queries,
        decoder.heads(case.queries),
        decoder.nodes,
        leaves=case.tree.leaves,
        centroids=case.tree.centroids,
        sharpness=decoder.description.sharpness,
    )[-1]
    return _Trained(distilled, learned, seconds)


def _compared(
    case: Case, sample: Sample, settings: Settings, rounds: int, others: Mapping[str, Sample]
) -> dict[str, Any]:
    geometry = case.geometry
    began = time.perf_counter()
    neighbours = exact_neighbours(sample, k=_CHOSEN.top + _CHOSEN.negatives)
    searching = time.perf_counter() - began
    chosen = _trained(case, sample, neighbours, _CHOSEN)
    in_turns = served(case, chosen.distilled.decoder, search=settings.search, rounds=rounds)
    ways = {
        "geometry alone: direct quantisation": geometry,
        "decoder alone": chosen.learned,
        "geometry + w · log p": geometry + chosen.weight * chosen.learned,
    }
    rows = [_row(case, name, scores) for name, scores in ways.items()]
    for name, options in ABLATION.items():
        rows.append(_ablated(case, f"sum; {name}", sample, neighbours, options))
    for name, other in others.items():
        found = exact_neighbours(other, k=_CHOSEN.top + _CHOSEN.negatives)
        rows.append(_ablated(case, f"sum; {name}", other, found, _CHOSEN))
    print(markdown(list(rows[0]), [list(row.values()) for row in rows]))
    return {
        "documents": len(case.documents),
        "leaves": len(case.tree.leaves),
        "queries trained on": len(sample.queries),
        "queries asked": len(case.queries),
        "seconds of exact search": searching,
        "seconds of training": chosen.seconds,
        "weight": float(chosen.weight),
        "sharpness": chosen.distilled.decoder.description.sharpness,
        "served": in_turns,
        "scores": rows,
    }


def _row(case: Case, name: str, scores: Floats, *, weight: float | None = None) -> dict[str, Any]:
    found = case.measure(scores)
    needs = case.geometry_needs(found[f"{case.members} documents"])
    return {"way": name, **found, "documents for geometry": needs, "w": weight}


def _ablated(
    case: Case, name: str, sample: Sample, neighbours: Neighbours, options: DistillationOptions
) -> dict[str, Any]:
    trained = _trained(case, sample, neighbours, options)
    scores = case.geometry + trained.weight * trained.learned
    return _row(case, name, scores, weight=float(trained.weight))


def _fewer_and_more(sample: Sample) -> Mapping[str, Sample]:
    third = slice(None, None, 3)
    return {
        "a third of the queries": replace(sample, queries=sample.queries[third], own=sample.own[third]),
        "all documents as queries": replace(
            sample, queries=sample.documents, own=np.arange(len(sample.documents))
        ),
    }


def _other_names(sample: Sample) -> Mapping[str, Sample]:
    first = np.flatnonzero(np.append(True, sample.own[1:] != sample.own[:-1]))
    likened = sample.documents.copy()
    likened[:, -1] = 1.0  # as the encoder makes queries of stored vectors
    return {
        "English names alone": replace(sample, queries=sample.queries[first], own=sample.own[first]),
        "no names: drawings as queries": replace(
            sample, queries=likened, own=np.arange(len(likened)), queries_are_documents=True
        ),
    }
