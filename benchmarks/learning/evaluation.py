"""How good answers are, by kind of query: nDCG@10 and the reciprocal rank of the best thing, through the topics."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from typing import get_args

import ir_measures
import numpy as np

from benchmarks.learning.people import TOP_K, document_id
from benchmarks.learning.world import Asked, Kind, World
from streams.errors import TrieflowError
from streams.events.queries import Result
from trieflow.client import Client
from trieflow.replies import Pending

NDCG, RECIPROCAL_RANK = ir_measures.nDCG @ 10, ir_measures.RR(rel=8) @ 10
IN_FLIGHT = 16
_GRADE = 10
MEASURED: tuple[Kind, ...] = tuple(kind for kind in get_args(Kind) if kind != "rephrasing")
Figures = Mapping[Kind, tuple[float, float]]


def evaluate(client: Client, world: World, *, seed: int, most: int, mode: str = "dense") -> Figures:
    """By kind, nDCG@10 and reciprocal rank in percent, over at most so many queries of each. It teaches nothing."""
    chance = np.random.default_rng([seed, 3])
    return {kind: _measured(client, _sample(world.of(kind), most, chance), mode) for kind in MEASURED}


def _sample(asked: Sequence[Asked], most: int, chance: np.random.Generator) -> list[Asked]:
    places = chance.permutation(len(asked))[:most]
    return [asked[place] for place in sorted(places.tolist())]


def _measured(client: Client, asked: Sequence[Asked], mode: str) -> tuple[float, float]:
    run = {str(place): _scores(result) for place, result in enumerate(answers(client, asked, mode))}
    judged = {
        str(place): {
            document_id(thing): round(float(each.wanted[thing]) * _GRADE)
            for thing in np.flatnonzero(each.wanted).tolist()
        }
        for place, each in enumerate(asked)
    }
    found = list(ir_measures.iter_calc([NDCG, RECIPROCAL_RANK], judged, run))
    values = {
        measure: [m.value for m in found if m.measure == measure] for measure in (NDCG, RECIPROCAL_RANK)
    }
    return 100 * statistics.fmean(values[NDCG]), 100 * statistics.fmean(values[RECIPROCAL_RANK])


def answers(client: Client, asked: Sequence[Asked], mode: str) -> list[Result]:
    """The answer to each query, which teaches nothing. Raises TrieflowError when one fails."""
    waiting: deque[Pending[Result]] = deque()
    results: list[Result] = []
    for each in asked:
        if len(waiting) == IN_FLIGHT:
            results.append(waiting.popleft().result())
        waiting.append(
            client.search_async({"text": each.text, "mode": mode}, top_k=TOP_K, learn=False, timeout=30)
        )
    results += [pending.result() for pending in waiting]
    failed = next((result.error for result in results if result.error is not None), None)
    if failed is not None:
        raise TrieflowError(f"{failed.code}: {failed.message}")
    return results


def _scores(result: Result) -> dict[str, float]:
    """By position: chance and ties must not be settled by the measuring library."""
    return {hit.document_id: -float(hit.position) for hit in result.hits or []}
