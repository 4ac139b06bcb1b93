"""The three ways as a searcher goes them: the live index, the live trie, the graph; recall and time of one query.

Documents are scored until there are so many; what is retained of the exact ten is counted after exact scoring.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from benchmarks.decoder_case import TOP, Case
from benchmarks.tables import markdown
from benchmarks.timing import Timing, in_turns
from models.decoder.decoder import Decoder
from models.decoder.levels import LEVELS, Floats
from state.dense import DenseIndex
from state.live_index import LiveDocument, LiveIndex
from state.routing import Learned
from state.vector_rows import ScoringPart, ScoringQuery
from streams.semantic_id import INSTANCE_BITS, LEVEL_SIZES
from streams.settings import SearchSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

Way = Literal["geometry", "decoder", "seeds"]
_EPOCH = 1
_DOCUMENTS_A_LEAF = 32
_EXPANSION = 96
_AT_ONCE = 1_000
_MILLISECOND = 1e-3


def served(
    case: Case, decoder: Decoder, *, search: SearchSettings, rounds: int, seconds: float = 1.0
) -> list[dict[str, Any]]:
    """A row for each way and each number of scored documents; all are timed in turns on one thread."""
    searcher = _Searcher(case, decoder, search)
    asked = {
        (way, members): partial(searcher.search, way, members=members)
        for members in (case.members // 2, case.members, 2 * case.members)
        for way in get_args(Way)
    }
    calls = {f"{way} {members}": call for (way, members), call in asked.items()}
    timings = in_turns(calls, rounds=rounds, seconds=seconds)
    rows = [
        _row(way, members, _recall(case, asked[way, members]), timings[f"{way} {members}"])
        for way, members in asked
    ]
    print(markdown(list(rows[0]), [list(row.values()) for row in rows]))
    return rows


def _row(way: str, members: int, recall: float, timing: Timing) -> dict[str, Any]:
    times = timing.summary(unit_s=_MILLISECOND)
    return {
        "search.generation": way,
        "documents scored": members,
        "recall@10": recall,
        "p50, ms": times["p50"],
        "lowest round": times["lowest_round"],
        "highest round": times["highest_round"],
    }


def _recall(case: Case, search: partial[NDArray[np.int64]]) -> float:
    found = [np.isin(best, search(number)).mean() for number, best in enumerate(case.best)]
    return float(np.mean(found))


class _Searcher:
    """What a searcher holds for the documents of a case, in their order."""

    def __init__(self, case: Case, decoder: Decoder, search: SearchSettings) -> None:
        self._queries = case.queries
        self._decoder = decoder
        self._search = search
        self._index = _filled(case)
        self._index.learn(_EPOCH, [decoder.nodes(level) for level in range(LEVELS)])
        self._row_of = np.array(
            [int(self._index.document_id(slot) or -1) for slot in range(len(case.documents))]
        )
        self._dense = _graph(self._index, len(case.documents))

    def search(self, way: Way, number: int, *, members: int) -> NDArray[np.int64]:
        """Rows of the best documents that are found for a query."""
        query = self._queries[number % len(self._queries)]
        arrays = ScoringQuery([ScoringPart(query)]).arrays(self._index.dimension)
        with self._index.reading():
            slots = (
                self._index.path(_EPOCH)
                .search(
                    self._index.rows_arrays,
                    arrays,
                    query,
                    leaves=max(1, members // _DOCUMENTS_A_LEAF),
                    members=members,
                    shortlist=self._search.shortlist,
                    beam=self._search.beam,
                    learned=None if way == "geometry" else self._learned(query),
                    seeds=self._near(query) if way == "seeds" else None,
                )
                .slots
            )
            scores = arrays.weights @ self._index.parts(arrays, slots)
        return self._row_of[slots[np.argsort(-scores, kind="stable")[:TOP]]]

    def _learned(self, query: Floats) -> Learned:
        description = self._decoder.description
        return Learned(self._decoder.heads(query[None]), description.weight, description.sharpness)

    def _near(self, query: Floats) -> NDArray[np.int64]:
        most = self._search.shortlist
        slots: NDArray[np.int64] = self._dense.search(query, most, expansion=max(_EXPANSION, most))[0]
        return slots


def _filled(case: Case) -> LiveIndex:
    index = LiveIndex(case.tree.dimension)
    index.set_tree(_EPOCH, case.tree.leaves, case.tree.centroids)
    index.activate(_EPOCH)
    for start in range(0, len(case.documents), _AT_ONCE):
        rows = range(start, min(start + _AT_ONCE, len(case.documents)))
        index.apply(_document(case, row) for row in rows)
    index.repair(2 * len(case.documents))
    return index


def _document(case: Case, row: int) -> LiveDocument:
    packed = int(case.paths[row, 0]) << INSTANCE_BITS | row % LEVEL_SIZES[-1]
    return LiveDocument(str(row), {_EPOCH: packed}, [("text", case.documents[row])], "text")


def _graph(index: LiveIndex, documents: int) -> DenseIndex:
    graph = DenseIndex(index.dimension, capacity=documents)
    for slot in range(documents):
        vectors: Sequence[Floats] = list(index.vectors(slot))
        graph.put(slot, vectors, identity=slot, version=graph.version(slot))
    return graph
