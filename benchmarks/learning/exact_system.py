"""What people talk to where no Kafka is needed: answers by given scores, and a log of what was shown and clicked.

It has those methods of `Client` that `People` uses. Chance takes part in lists as in a searcher's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.exploring import explores, shuffled
from benchmarks.learning.people import TOP_K, Habits, People, document_id, things_of
from benchmarks.learning.world import Floats, World
from models.gates.ranks import discounts
from streams.events.queries import Hit


@dataclass(frozen=True)
class Answer:
    """One list that was shown. text: row of the query among the texts. upper: of the pairs that chance ordered.
    previous: the query id that it rephrases."""

    query_id: str
    text: int
    session: int
    user: str
    shown: NDArray[np.int64]
    uppers: Sequence[int]
    previous: str | None
    clicked: Sequence[int] = ()
    """Places in the list, from 0."""


@dataclass
class ExactSystem:
    """Answers each text by its row of scores (texts, things)."""

    scores: Floats
    rows: Mapping[str, int]
    shuffled_share: float
    forged: int | None = None
    """What spammers put into the lists that they report clicks on."""
    answers: dict[str, Answer] = field(default_factory=dict)
    _tops: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    _queries: Counter[str] = field(default_factory=Counter)

    def search(
        self,
        query: Mapping[str, Any],
        *,
        top_k: int,
        user_id: str,
        session_id: str,
        previous_query_id: str | None,
        timeout: float,
    ) -> SimpleNamespace:
        row = self.rows[query["text"]]
        query_id = f"{session_id}/{self._queries[session_id]}"  # a session is one thread
        self._queries[session_id] += 1
        top = self._top(row)
        if self.forged is not None and user_id.startswith("spammer-"):
            top = _with(top, self.forged, query_id)
        hits = [
            Hit(document_id=document_id(thing), score=0.0, position=place)
            for place, thing in enumerate(top.tolist(), start=1)
        ]
        uppers: list[int] = []
        if explores(session_id, self.shuffled_share):
            hits, uppers = shuffled(hits, query_id)
        self.answers[query_id] = Answer(
            query_id,
            row,
            int(session_id.rpartition("-")[2]),
            user_id,
            things_of([hit.document_id for hit in hits]),
            uppers,
            previous_query_id,
        )
        return SimpleNamespace(error=None, query_id=query_id, hits=hits, models=None)

    def click(self, query_id: str, document_id: str) -> None:
        answer = self.answers[query_id]
        (thing,) = things_of([document_id])
        place = int(np.flatnonzero(answer.shown == thing)[0])
        self.answers[query_id] = replace(answer, clicked=[*answer.clicked, place])

    def _top(self, row: int) -> NDArray[np.int64]:
        if row not in self._tops:
            self._tops[row] = top_of(self.scores[row : row + 1])[0]
        return self._tops[row]


def top_of(scores: Floats, count: int = TOP_K) -> NDArray[np.int64]:
    """The best things (n, count) of rows of scores (n, things), the best first."""
    best = np.argpartition(-scores, count, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def ranks_of(scores: Floats, rows: NDArray[np.int64], things: NDArray[np.int64]) -> NDArray[np.float64]:
    """The rank (n,), from 1, of a thing for a text, each (n,)."""
    ranks = np.empty(len(rows))
    for at in range(0, len(rows), 4_096):
        part = slice(at, at + 4_096)
        own = scores[rows[part], things[part]]
        ranks[part] = 1 + (scores[rows[part]] > own[:, None]).sum(axis=1)
    return ranks


def ndcg(wanted: Floats, top: NDArray[np.int64]) -> NDArray[np.float64]:
    """nDCG (n,) of lists (n, k) by how much each thing is wanted, (n, things)."""
    worth = discounts(np.arange(1.0, top.shape[1] + 1))
    count = len(worth)
    ideal = -np.sort(np.partition(-wanted, count - 1, axis=1)[:, :count], axis=1)
    return np.asarray((np.take_along_axis(wanted, top, axis=1) @ worth) / (ideal @ worth))


def people_ask(
    world: World, system: ExactSystem, *, seed: int, clicks: int, habits: Habits | None = None
) -> list[Answer]:
    """What was shown and clicked until so many clicks, in order of sessions."""
    people = People(system, world, seed=seed, habits=habits)  # type: ignore[arg-type]
    people.go_on(lambda tally: tally.clicks >= clicks)
    return sorted(system.answers.values(), key=lambda answer: (answer.session, answer.query_id))


def _with(top: NDArray[np.int64], thing: int, query_id: str) -> NDArray[np.int64]:
    """The list with a thing in it, not among the first three."""
    if thing in top:
        return top
    forged = top.copy()
    forged[3 + sum(query_id.encode()) % (len(top) - 3)] = thing
    return forged
