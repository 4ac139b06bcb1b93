"""What the gates judge a candidate by: both models over the same documents, the same clicks, the same memory.

Scores are those of the dense path: the best of a document's vectors, what clicks remember, and what fine-ranking
adds. Words and graph are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agents.catalogue import Catalogue
from agents.training_window import Answers, Window
from models.gates.clicks import HeldOutClicks, estimate_noise
from models.gates.exposure import NOTHING, TopLists
from models.gates.guard import GuardQueries
from models.gates.ranks import DEPTH
from models.gates.verdict import Evidence
from models.ranking.ranker import Ranker
from models.ranking.weights import Ranking, Signals
from state.clicks.examination import POSITIONS, examination
from state.clicks.memory import ClickMemory
from state.clicks.rows import LINKED, ImpressionRow
from state.fusion import FusionWeights
from streams.events.click_memory import SUMMARY_KEY

Floats = NDArray[np.float32]
_AT_ONCE = 128
_MOST_LISTS = 4_000
"""Distinct queries of the log, those asked most often, whose lists are compared."""
_BEYOND = 0.1


@dataclass(frozen=True)
class Known:
    """Known-item queries (n, d), the numbers (n,) of the documents that they want, and whether people ask in their
    language (n,)."""

    queries: Floats
    wanted: NDArray[np.int64]
    in_log: NDArray[np.bool_]


class Judging:
    """Makes evidence for candidates; `incumbent` is what serves."""

    def __init__(
        self,
        window: Window,
        catalogue: Catalogue,
        guard: Known,
        *,
        incumbent: Ranker,
        stamp: str,
    ) -> None:
        self._window, self._catalogue, self._guard = window, catalogue, guard
        self._incumbent = incumbent
        self._numbers = catalogue.numbers
        self._memory = _memory(window.taught, catalogue.documents.vectors.shape[1], stamp)
        owners = catalogue.documents.owners
        self._firsts = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])
        self._trusted = FusionWeights().vector.trusted or len(catalogue.ids)

    def evidence(self, candidate: Ranker) -> Evidence:
        """All that the gates want to know of a candidate."""
        return Evidence(
            guard=self.guard(candidate),
            clicks=self._clicks(candidate),
            noise=self._noise(),
            lists=self._lists(candidate),
        )

    def guard(self, candidate: Ranker) -> GuardQueries:
        """Ranks of what known-item queries want, under both models."""
        return GuardQueries(self._guard_before, self._guard_ranks(candidate), self._guard.in_log)

    @cached_property
    def _guard_before(self) -> NDArray[np.float64]:
        """Of what serves: the same for every candidate."""
        return self._guard_ranks(self._incumbent)

    def _guard_ranks(self, ranker: Ranker) -> NDArray[np.float64]:
        return _ranks(self.scores(self._guard.queries, ranker), self._guard.wanted)

    def _clicks(self, candidate: Ranker) -> HeldOutClicks:
        """What was shown in sessions that are held out, and that counts for the query before as well."""
        looks = examination(POSITIONS, self._window.taught.shard.state.exponent)
        shown = [each for each in _shown(self._window.held_out) if each.document_id in self._numbers]
        queries = list(dict.fromkeys(each.query for each in shown))
        ranks = {model: self._ranks_of(shown, queries, ranker) for model, ranker in self._models(candidate)}
        sessions = {name: number for number, name in enumerate(dict.fromkeys(each.session for each in shown))}
        answers = {name: number for number, name in enumerate(dict.fromkeys(each.answer for each in shown))}
        return HeldOutClicks(
            session=np.array([sessions[each.session] for each in shown], dtype=np.int64),
            answer=np.array([answers[each.answer] for each in shown], dtype=np.int64),
            examination=np.array([looks[each.position - 1] for each in shown]),
            clicked=np.array([float(each.is_clicked) for each in shown]),
            weight=np.array([each.weight for each in shown]),
            incumbent=ranks["incumbent"],
            candidate=ranks["candidate"],
        )

    def _ranks_of(
        self,
        shown: Sequence[_Shown],
        queries: Sequence[tuple[str, tuple[str, ...]]],
        ranker: Ranker,
    ) -> NDArray[np.float64]:
        """The rank (n,) of each shown document for the query that it was shown for."""
        place = {query: number for number, query in enumerate(queries)}
        by_query: dict[int, list[int]] = {}
        for number, each in enumerate(shown):
            by_query.setdefault(place[each.query], []).append(number)
        vectors = self._rows_of(
            np.array([self._window.held_out.vectors[key] for key, _ in queries], dtype=np.float32)
        )
        ranks = np.ones(len(shown))
        scores = self._scored(vectors, ranker, words=[words for _, words in queries])
        for row, of_query in enumerate(scores):
            numbers = by_query.get(row, [])
            own = of_query[[self._numbers[shown[number].document_id] for number in numbers]]
            ranks[numbers] = 1 + (of_query[None, :] > own[:, None]).sum(axis=1)
        return ranks

    def _noise(self) -> float:
        """From positions that chance decided, in the sessions that are learned from."""
        taught = self._window.taught
        looks = examination(POSITIONS, taught.shard.state.exponent)
        rows = [row for _, row in taught.typed() if row.random_pairs]
        vectors = np.array([taught.vectors[row.query] for row in rows], dtype=np.float32)
        clicked, p, score = [], [], []
        scores = self._scored(self._rows_of(vectors), self._incumbent, words=[() for _ in rows])
        for row, of_query in zip(rows, scores, strict=True):
            at = {place for upper in row.random_pairs for place in (upper, upper + 1)}
            for hit in row.shown:
                if hit.position in at and hit.document_id in self._numbers:
                    clicked.append(float(hit.document_id in row.clicked))
                    p.append(looks[hit.position - 1])
                    score.append(float(of_query[self._numbers[hit.document_id]]))
        return estimate_noise(clicked, p, score).rate

    def _lists(self, candidate: Ranker) -> TopLists:
        taught = self._window.taught
        asked: dict[str, int] = {}
        words: dict[str, Sequence[str]] = {}
        for _, row in taught.typed():
            asked[row.query] = asked.get(row.query, 0) + 1
            words[row.query] = row.words
        most = sorted(asked, key=lambda key: (-asked[key], key))[:_MOST_LISTS]
        vectors = self._rows_of(np.array([taught.vectors[key] for key in most], dtype=np.float32))
        before, after = (
            np.array(
                [_top(each) for each in self._scored(vectors, ranker, words=[words[key] for key in most])]
            ).reshape(len(most), DEPTH)
            for _, ranker in self._models(candidate)
        )
        return TopLists(before.astype(np.int64), after.astype(np.int64), [asked[key] for key in most])

    def _models(self, candidate: Ranker) -> tuple[tuple[str, Ranker], ...]:
        return ("incumbent", self._incumbent), ("candidate", candidate)

    def _rows_of(self, vectors: Floats) -> Floats:
        """(n, d), for no vectors too."""
        return vectors.reshape(len(vectors), self._catalogue.documents.vectors.shape[1])

    def scores(self, queries: Floats, ranker: Ranker) -> Iterator[Floats]:
        """Of each query without unknown words, (n, d), the scores (documents,) that a searcher would rank by."""
        return self._scored(queries, ranker, words=[() for _ in queries])

    def _scored(self, queries: Floats, ranker: Ranker, *, words: Sequence[Sequence[str]]) -> Iterator[Floats]:
        """Of each query, the scores (documents,) that a searcher would rank by."""
        documents, least = (
            self._catalogue.documents,
            float(self._catalogue.documents.spreads.min(initial=1.0)),
        )
        fine = self._fine(ranker.ranking)
        for start in range(0, len(queries), _AT_ONCE):
            part = queries[start : start + _AT_ONCE]
            best = np.maximum.reduceat(documents.scores(ranker.moved(part)), self._firsts, axis=1)
            for row, scores in enumerate(best):
                scores = _trusted(scores, self._trusted)
                for name, boost in self._memory.boosts(part[row], words[start + row]).items():
                    if name in self._numbers:
                        scores[self._numbers[name]] += boost / least
                yield scores if fine is None else scores + fine

    def _fine(self, ranking: Ranking) -> Floats | None:
        """What fine-ranking adds to each document (documents,) when the window ends, None without any.

        Words are left out as everywhere here: their weight is judged by the canary alone.
        """
        if not ranking.weights:
            return None
        clicks, expected = self._memory.totals(self._catalogue.ids)
        numbers = {field: self._catalogue.values[field] for field in ranking.fields}
        known = Signals(numbers, clicks, expected, np.zeros(len(clicks)))
        parts = ranking.parts(known, at=self._ends_at)
        return np.asarray(sum(parts.values()), dtype=np.float32)

    @cached_property
    def _ends_at(self) -> float:
        """When the last answer of the window was given, seconds since the epoch."""
        sides = (self._window.taught, self._window.held_out)
        return max((row.at for side in sides for row in side.rows.values()), default=0.0)


@dataclass(frozen=True, slots=True)
class _Shown:
    document_id: str
    query: tuple[str, tuple[str, ...]]
    session: str
    answer: str
    position: int
    is_clicked: bool
    weight: float


def _shown(answers: Answers) -> Iterator[_Shown]:
    for query_id, row in answers.typed():
        yield from _of_row(row, row, query_id, weight=1.0)
        before = answers.before(row)
        if before is not None:
            yield from _of_row(before, row, f"{query_id}/linked", weight=LINKED)


def _of_row(asked: ImpressionRow, row: ImpressionRow, answer: str, *, weight: float) -> Iterator[_Shown]:
    session = row.session or answer
    for hit in row.shown:
        query = (asked.query, tuple(asked.words))
        clicked = hit.document_id in row.clicked
        yield _Shown(hit.document_id, query, session, answer, hit.position, clicked, weight)


def _memory(answers: Answers, dimension: int, stamp: str) -> ClickMemory:
    """As searchers would have it after the sessions that are learned from."""
    memory = ClickMemory(dimension, stamp=stamp)
    summary = answers.shard.ledger().summary()
    if summary is not None:
        memory.take(SUMMARY_KEY, summary)
    for key, remembered in answers.shard.remembered():
        if remembered.documents:
            memory.take(key, remembered.event())
    return memory


def _trusted(scores: Floats, count: int) -> Floats:
    """As `state.fusion` takes a measure: differences below the best ones count a tenth."""
    if count >= len(scores):
        return scores.copy()
    least = np.partition(scores, -count)[-count]
    return np.where(scores < least, least - (least - scores) * np.float32(_BEYOND), scores)


def _ranks(scores: Iterator[Floats], wanted: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([1.0 + (row > row[number]).sum() for row, number in zip(scores, wanted, strict=True)])


def _top(scores: Floats) -> NDArray[np.int64]:
    """The ten best (10,), `NOTHING` where there are fewer."""
    count = min(DEPTH, len(scores))
    best = np.argpartition(-scores, count - 1)[:count]
    return np.pad(best[np.argsort(-scores[best])], (0, DEPTH - count), constant_values=NOTHING)
