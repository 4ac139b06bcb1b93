"""Making an old answer again: the same query on the index as it was, and hit by hit what agrees.

The same positions and the same weights give the same answer where every document is scored: filters, exact vectors,
clicks, fusion. Approximate are the graph, which depends on the order in which documents came in, the choice of
second leaves, and word statistics, in which deleted documents count until they are merged away. What is made again
is built as a searcher builds it from a whole shard, so that two replays agree with each other.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from agents.answering import Answered, interleaved
from agents.asked import QueryVector, summed
from agents.asks import Ask
from agents.content_store import ContentStore
from agents.encoding import EncodingService
from agents.exploring import shuffled
from agents.found import Found, Told
from agents.query_vectors import QueryVectors
from agents.sensors import Sensor
from agents.worker import worker_encoder
from models.encoders.registry import describe_encoder
from streams.errors import DataError
from streams.events.queries import Hit
from streams.settings import Settings
from trieflow.compared_hits import ComparedHit, agree, compared
from trieflow.old_answers import GoneError, OldAnswer, Progress, Shown, find_answer
from trieflow.old_index import OldIndex, old_index

_VECTOR_TOLERANCE = 2e-3
"""Of a number of the query's vector, which is kept in 16 bits."""
_NAMED = {"assignments": "documents", "codebooks": "leaves of the tree", "click-memory": "remembered keys"}

Verdict = Literal["agrees", "differs", "incomplete"]


@dataclass(frozen=True)
class ReplayedAnswer:
    """An old answer and what became of it when it was made again.

    verdict: `incomplete` where the log no longer holds what a hit was at the time. at: when it was answered.
    unknown: by kind, how many may have been otherwise then, at most.
    """

    query_id: str
    verdict: Verdict
    at: datetime
    hits: Sequence[ComparedHit]
    notes: Sequence[str]
    unknown: Mapping[str, int]


def replay_answer(settings: Settings, query_id: str, *, progress: Progress) -> ReplayedAnswer:
    """Find an answer, make it again and compare.

    Raises GoneError where what it was made from is not kept any more, NoHitsError, BrokerError, ModelError,
    StateError.
    """
    answer = find_answer(settings, query_id, progress=progress)
    described = describe_encoder(settings.encoder)
    if answer.stamp != described.stamp:
        raise GoneError(
            f"query {query_id} was answered with the encoder {answer.stamp}, and {settings.encoder} is "
            f"{described.stamp}: name the one of then by --encoder, as long as its weights are there"
        )
    encoding = EncodingService(worker_encoder(settings), sensor=Sensor())
    try:
        with old_index(settings, answer, encoding, progress=progress) as index:
            return _Replay(settings, answer, index, encoding).run()
    finally:
        encoding.close()


class _Replay:
    """One answer on the index as it was."""

    def __init__(
        self, settings: Settings, answer: OldAnswer, index: OldIndex, encoding: EncodingService
    ) -> None:
        self._settings = settings
        self._answer = answer
        self._index = index
        self._ask = Ask(answer.record, answer.query_id, answer.query, math.inf, "")
        self._vectors = QueryVectors(
            settings,
            encoding=encoding,
            store=ContentStore(settings.content_store),
            like=index.held.searching.like,
        )

    def run(self) -> ReplayedAnswer:
        answer = self._answer
        found, hits = self._compared()
        notes = list(self._notes(found))
        if answer.fresh_until is not None and not agree(hits):
            self._index.go_on_to(answer.fresh_to, answer.fresh_until)
            later_found, later = self._compared()
            if agree(later):
                found, hits = later_found, later
                notes.append("it agrees with the log as it was when the search ended")
            else:
                notes.append("documents came in during the search: some of them may have been in the answer")
        agrees = agree(hits)
        close = sum(hit.agreement == "close" for hit in hits)
        if close:
            notes.append(
                f"{close} scores differ a little: deleted documents count in the statistics of words"
            )
        unknown = {_NAMED[name]: each.at_most for name, each in self._index.compacted.items() if each.at_most}
        if not agrees:
            notes += [f"at most {count} {what} may have been otherwise" for what, count in unknown.items()]
            notes += self._approximate(found)
            notes += [
                f"the {path} path was {count} documents behind" for path, count in answer.behind.items()
            ]
        lost = any(hit.reason for hit in hits)
        return ReplayedAnswer(
            query_id=answer.query_id,
            verdict="agrees" if agrees else "incomplete" if lost else "differs",
            at=datetime.fromtimestamp(answer.at_ms / 1_000, UTC),
            hits=hits,
            notes=notes,
            unknown=unknown,
        )

    def _compared(self) -> tuple[Found, list[ComparedHit]]:
        found, count = self._search(), self._answer.query.top_k
        shown = found.hits[:count]
        if self._answer.random_pairs:
            shown, _ = shuffled(shown, self._answer.query_id)
        now = [Shown(hit.document_id, hit.position, hit.score) for hit in [*shown, *found.hits[count:]]]
        words = {hit.document_id: _by_words(hit) for hit in found.hits}
        hits = compared(self._answer.shown, now, top_k=count, words=words)
        return found, list(map(self._with_reason, hits))

    def _search(self) -> Found:
        answer, searching = self._answer, self._index.held.searching
        told = Told(answer.unsure, answer.unknown_words, answer.at_ms / 1_000)
        try:
            parts = asyncio.run(self._vectors.prepare(self._ask))
            encoded = self._vectors.submit(self._ask, parts)
            query = answer.query.model_copy(update={"explain": True, "top_k": self._depth})
            by = [
                searching.search(
                    query,
                    encoded,
                    self._index.codebooks,
                    told=told,
                    ranker=ranker,
                    history=answer.history or (),
                )
                for ranker in self._index.rankers
            ]
            return by[0] if len(by) == 1 else self._interleaved(by)
        except DataError as error:
            raise GoneError(f"the query cannot be asked again: {error}") from error

    def _interleaved(self, by: Sequence[Found]) -> Found:
        """As both lists were interleaved, then what else what serves finds."""
        top = self._answer.query.top_k
        lists = [Answered(replace(found, hits=found.hits[:top]), []) for found in by]
        hits = interleaved(self._ask, *lists).found.hits
        shown = {hit.document_id for hit in hits}
        return replace(by[0], hits=[*hits, *(hit for hit in by[0].hits if hit.document_id not in shown)])

    @property
    def _depth(self) -> int:
        """More hits than were asked for, to say where old ones are; not so many that more candidates are taken."""
        return max(self._answer.query.top_k, self._settings.search.shortlist // 2)

    def _with_reason(self, hit: ComparedHit) -> ComparedHit:
        held, later = self._index.held, self._index.compacted["assignments"].later
        if hit.position_then is None or hit.document_id in held.index:
            return hit
        if hit.document_id in later:
            reason = "it was changed or deleted since, and what it was is compacted away"
        else:
            reason = "nothing of it is left in the log"
        return replace(hit, reason=reason)

    def _notes(self, found: Found) -> Iterator[str]:
        answer = self._answer
        if answer.mode not in (None, found.mode):
            yield f"the path that was taken is {found.mode}, it was {answer.mode}"
        if answer.query_vector is not None and _differ(answer.query_vector.array(), found.vectors):
            yield "the query's vector is another: a picture or a document that it names has changed"
        gone = len(answer.history or ()) - len(found.history)
        if gone:
            yield f"{gone} documents that the person chose before are not there any more"
        if answer.history is None and answer.query.user_id is not None and answer.query.personal:
            yield "a probe: what the person had chosen before is not kept, and has no part in it"
        if answer.unknown_words is None and answer.memory_offset >= 0:
            yield "a probe: words that clicks taught count only with the key of the hashes, in the data folder"

    def _approximate(self, found: Found) -> Iterator[str]:
        if found.mode == "generative":
            yield "the answer is approximate: its second leaves depend on how the tree grew"
        elif found.mode == "dense" and self._index.held.dense.is_used:
            yield "the answer is approximate: the graph depends on the order in which documents came in"


def _differ(then: np.ndarray, vectors: Sequence[QueryVector]) -> bool:
    return not np.allclose(then.astype(np.float32), summed(vectors), atol=_VECTOR_TOLERANCE, rtol=1e-3)


def _by_words(hit: Hit) -> float:
    """What words gave to a score, with what fine-ranking made of it."""
    parts = hit.parts or {}
    return abs(parts.get("lexical", 0.0) + parts.get("words", 0.0))
