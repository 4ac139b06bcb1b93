"""What impressions and feedback change in the learner's shard. Both may come first.

An impression counts what it showed as expected clicks, by the probability that each position is looked at; a click
counts for the query and for its unknown words. The first click on the answer to a rephrased query is credited to
the query before it as well, half: without that, words that find nothing could hardly be learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from state.clicks.bad_cases import BadCases
from state.clicks.examination import examination, fit_exponent
from state.clicks.rows import Act, ImpressionRow, Remembered, Shown, person_of, query_key
from state.columns import Columns, Mutations, Overlay
from streams.events.assignments import StampedVector
from streams.events.click_memory import QUERY_PREFIX, WORD_PREFIX, MemorySummary, word_key
from streams.events.impressions import Feedback, Impression
from streams.settings import LearningSettings

ColumnName = Literal["meta", "impressions", "order", "early", "memory", "caps", "cases"]
Outcome = Literal["counted", "noted", "waiting", "repeated", "not_shown", "late", "capped", "expired"]
"""What became of an event. `noted`: kept, but no click. The last four are refusals."""

POSITIVE = frozenset({"click", "save", "convert"})
LINKED = 0.5
"""What a click on the answer to the next query counts for the query before it."""
_STATE, _SUM = b"state", b"sum"
_SLACK = 1.1
"""So far above what is kept, it is cut back: each time all of it is looked through."""
_NUMBER_BYTES = 8
_LINK = b"\x00"  # no query id begins so
_EXPONENT_STEP = 0.02
_TOLD_POSITIONS = 20
POSITIONS = 1_000
"""So many a query may ask for."""


@dataclass(slots=True)
class LedgerState:
    """Counters that hold for all of it.

    number, oldest: of the next impression, and of the oldest that is kept. newest: time of the newest, seconds
    since the epoch. since: time of the earliest one with a click. told_queries, told_exponent: as the last summary
    said. pairs: by upper position, clicks at it and at the one below, where chance put them in order.
    """

    number: int = 0
    oldest: int = 0
    accepted: int = 0
    queries: int = 0
    words: int = 0
    newest: float = 0.0
    since: float | None = None
    told_queries: int = 0
    told_exponent: float = -1.0
    pairs: dict[int, list[float]] = field(default_factory=dict)

    def encode(self) -> bytes:
        return orjson.dumps({**asdict(self), "pairs": sorted(self.pairs.items())})

    @classmethod
    def decode(cls, value: bytes) -> LedgerState:
        row = orjson.loads(value)
        return cls(**{**row, "pairs": dict(row["pairs"])})

    @property
    def exponent(self) -> float:
        return fit_exponent(self.pairs)


class Ledger:
    """One batch of events over the rows of the shard. `mutations` and `touched` are what it comes to."""

    def __init__(self, columns: Columns[ColumnName], settings: LearningSettings, *, stamp: str) -> None:
        """`stamp`: of the encoder whose queries are remembered; others are left out."""
        self.outcomes: Counter[Outcome] = Counter()
        self._stamp = stamp
        self._columns = columns
        self._settings = settings
        self._rows = Overlay(columns)
        self.bad_cases = BadCases(self._rows)
        self._memory: dict[str, Remembered | None] = {}
        self._impressions: dict[str, ImpressionRow] = {}
        value = columns.get("meta", _STATE)
        self.state = LedgerState() if value is None else LedgerState.decode(value)
        self._exponent = self.state.exponent
        self._examination = examination(POSITIONS, self._exponent)

    # -- events -----------------------------------------------------------------------------------------

    def shown(self, query_id: str, impression: Impression) -> Outcome:
        """Take in an impression; the first of a query id counts. Feedback that came before it is taken in too."""
        if self._impression(query_id) is not None:
            return self._count("repeated")
        if impression.query_vector is None or impression.query_vector.stamp != self._stamp:
            return self._count("noted")
        row = ImpressionRow(
            number=self.state.number,
            at=impression.at.timestamp(),
            query=query_key(impression.query_vector),
            words=impression.unknown_words,
            shown=[Shown(hit.document_id, hit.position, hit.team) for hit in impression.shown],
            person=person_of(impression),
            session=impression.session_id,
            previous=impression.previous_query_id,
            random_pairs=impression.random_pairs,
            models=impression.models,
            arm=impression.arm,
        )
        self.state.number += 1
        self.state.newest = max(self.state.newest, row.at)
        self._rows.put("order", _number_key(row.number), query_id.encode())
        self._remember_query(row, impression)
        self._impressions[query_id] = row
        if self.state.since is not None and row.at >= self.state.since:
            self._impressions[query_id] = self._expect(row)
        self._count("noted")
        self.bad_cases.shown(query_id, impression, query=row.query)
        self._take_early(query_id)
        self._take_links(query_id)
        return "noted"

    def given(self, query_id: str, feedback: Feedback, at: float) -> Outcome:
        """Take in feedback; `at`: when it was given. What comes before its impression waits for it."""
        row, act = self._impression(query_id), Act(feedback.document_id, feedback.action, at)
        if row is None:
            kept = self._put_early(query_id.encode(), act)
            return self._count("waiting" if kept else "expired")
        return self._count(self._act(query_id, row, act))

    def mutations(self) -> Mutations[ColumnName]:
        """All changes, for one write. The ledger is used up."""
        for query_id, row in self._impressions.items():
            self._rows.put("impressions", query_id.encode(), row.encode())
        for key, remembered in self._memory.items():
            self._rows.put("memory", key.encode(), None if remembered is None else remembered.encode())
        self._rows.put("meta", _STATE, self.state.encode())
        return self._rows.mutations

    def summary(self) -> MemorySummary | None:
        """What holds for the whole memory, when that has changed enough to be told again."""
        state = self.state
        moved = abs(self._exponent - state.told_exponent) > _EXPONENT_STEP
        if state.queries <= state.told_queries * _SLACK and not moved:
            return None
        state.told_queries, state.told_exponent = state.queries, self._exponent
        centre = self._sum() / np.float32(max(1, state.queries))
        return MemorySummary(
            queries=state.queries,
            centre=StampedVector.of(self._stamp, "fused", centre),
            examination=[round(float(each), 4) for each in self._examination[:_TOLD_POSITIONS]],
            exponent=round(self._exponent, 4),
        )

    @property
    def touched(self) -> dict[str, Remembered | None]:
        """What is remembered now under each key that changed; None: forgotten."""
        return self._memory

    # -- clicks -----------------------------------------------------------------------------------------

    def _act(self, query_id: str, row: ImpressionRow, act: Act) -> Outcome:
        position = row.position_of(act.document_id)
        if position is None:
            return "not_shown"
        if abs(act.at - row.at) > self._settings.join_window_s:
            return "late"
        if any((known.document_id, known.action) == act[:2] for known in row.acts):
            return "repeated"
        row = replace(row, acts=[*row.acts, act])
        self._impressions[query_id] = row
        if act.action not in POSITIVE or act.document_id in row.clicked:
            return "noted"
        self.bad_cases.clicked(query_id, act.document_id)
        if not self._within_cap(row.person, act.document_id):
            return "capped"
        self._credit(query_id, row, act.document_id, position)
        return "counted"

    def _credit(self, query_id: str, row: ImpressionRow, document_id: str, position: int) -> None:
        self.state.accepted += 1
        if self.state.since is None or row.at < self.state.since:
            self._begin(row.at)
            row = self._impressions[query_id]
        for key in self._keys(row):
            self._changed(key).add(document_id, clicks=1.0)
        for upper in row.random_pairs:
            if position in (upper, upper + 1):
                self.state.pairs.setdefault(upper, [0.0, 0.0])[position - upper] += 1
        self._impressions[query_id] = replace(row, clicked=[*row.clicked, document_id])
        if row.previous is not None and row.session is not None:
            before = self._impression(row.previous)
            if before is None:
                self._put_early(_link_key(row.previous), (query_id, row.at))
            else:
                self._link(query_id, before, [document_id])

    def _link(self, query_id: str, before: ImpressionRow, documents: Sequence[str]) -> None:
        """Credit clicks on an answer to the query that it rephrased, of the same session."""
        row = self._impressions[query_id]
        if before.session != row.session:
            return
        if not row.linked:
            self._expect_at(before, row.shown, LINKED)
            self._impressions[query_id] = replace(row, linked=True)
        for key in self._keys(before):
            for document_id in documents:
                self._changed(key).add(document_id, clicks=LINKED)

    def _begin(self, since: float) -> None:
        """Expect clicks on what was shown from this time on: before, nobody told of any.

        The earliest impression with a click decides, not the first click that is read: partitions have no order.
        """
        self.state.since = since
        stored = (key.decode() for key, _ in self._columns.items("impressions"))
        for query_id in [*stored, *self._impressions]:
            row = self._impression(query_id)
            if row is not None and not row.counted and row.at >= since:
                self._impressions[query_id] = self._expect(row)

    def _expect(self, row: ImpressionRow) -> ImpressionRow:
        self._expect_at(row, row.shown, 1.0)
        return replace(row, counted=True)

    def _expect_at(self, row: ImpressionRow, shown: Sequence[Shown], weight: float) -> None:
        for key in self._keys(row):
            remembered = self._changed(key)
            for hit in shown:
                looked_at = self._examination[min(hit.position, len(self._examination)) - 1]
                remembered.add(hit.document_id, expected=weight * float(looked_at))

    def _within_cap(self, person: str, document_id: str) -> bool:
        key = _cap_key(person, document_id)
        clicks = int(self._rows.get("caps", key) or 0)
        if clicks >= self._settings.clicks_per_user:
            return False
        self._rows.put("caps", key, b"%d" % (clicks + 1))
        return True

    # -- what came before its impression --------------------------------------------------------------------

    def _put_early(self, key: bytes, entry: Sequence[str | float]) -> bool:
        """Keep it until the impression comes; the last of an entry is its time. False when too many wait."""
        waiting = orjson.loads(self._rows.get("early", key) or b"[]")
        if len(waiting) >= self._settings.early_per_query:
            return False
        self._rows.put("early", key, orjson.dumps([*waiting, list(entry)]))
        return True

    def _taken_early(self, key: bytes) -> list[list[Any]]:
        value = self._rows.get("early", key)
        if value is None:
            return []
        self._rows.put("early", key, None)
        found: list[list[Any]] = orjson.loads(value)
        return found

    def _take_early(self, query_id: str) -> None:
        """Feedback that came before the impression."""
        for each in self._taken_early(query_id.encode()):
            self._count(self._act(query_id, self._impressions[query_id], Act(*each)))

    def _take_links(self, query_id: str) -> None:
        """Clicks on answers that rephrased this query, which came before it: from other partitions."""
        for next_id in dict.fromkeys(each[0] for each in self._taken_early(_link_key(query_id))):
            row = self._impression(next_id)
            if row is not None:
                self._link(next_id, self._impressions[query_id], row.clicked)

    # -- what is given up -------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Give up what is more than the settings keep: the oldest impressions, what was used longest ago."""
        while self.state.number - self.state.oldest > self._settings.impressions:
            self._drop_impression(self.state.oldest)
            self.state.oldest += 1
        if self.state.queries > self._settings.queries * _SLACK:
            self._forget_queries(self.state.queries - self._settings.queries)
        if self.state.words > self._settings.words * _SLACK:
            self._forget_words(self.state.words - self._settings.words)
        for remembered in filter(None, self._memory.values()):
            remembered.keep(self._settings.documents)

    def expire(self) -> None:
        """Give up feedback whose impression did not come within the window."""
        oldest = self.state.newest - self._settings.join_window_s
        for key, value in self._columns.items("early"):
            waiting = orjson.loads(value)
            kept = [entry for entry in waiting if entry[-1] > oldest]
            if len(kept) < len(waiting):
                self._rows.put("early", key, orjson.dumps(kept) if kept else None)
                if not key.startswith(_LINK):
                    self.outcomes["expired"] += len(waiting) - len(kept)

    def _drop_impression(self, number: int) -> None:
        query_id = self._rows.get("order", _number_key(number))
        self._rows.put("order", _number_key(number), None)
        row = None if query_id is None else self._impression(query_id.decode())
        if query_id is None or row is None:
            return
        for document_id in row.clicked:
            key = _cap_key(row.person, document_id)
            left = int(self._rows.get("caps", key) or 0) - 1
            self._rows.put("caps", key, b"%d" % left if left > 0 else None)
        self.bad_cases.forget(query_id.decode())
        self._impressions.pop(query_id.decode())
        self._rows.put("impressions", query_id, None)

    def _forget_queries(self, count: int) -> None:
        for key, remembered in self._longest_unused(QUERY_PREFIX, count):
            self._memory[key] = None
            self.state.queries -= 1
            if remembered.vector is not None:
                self._add_to_sum(StampedVector.model_construct(**remembered.vector), -1)
            for word in remembered.words:
                known = self._remembered(word_key(word))
                if known is not None:
                    known.queries -= 1

    def _forget_words(self, count: int) -> None:
        for key, _ in self._longest_unused(WORD_PREFIX, count):
            self._memory[key] = None
            self.state.words -= 1

    def _longest_unused(self, prefix: str, count: int) -> list[tuple[str, Remembered]]:
        stored = (key.decode() for key, _ in self._columns.items("memory", prefix=prefix.encode()))
        keys = dict.fromkeys([*stored, *(key for key in self._memory if key.startswith(prefix))])
        found = [(key, known) for key in keys if (known := self._remembered(key)) is not None]
        return sorted(found, key=lambda each: each[1].used)[:count]

    # -- rows -------------------------------------------------------------------------------------------

    def _impression(self, query_id: str) -> ImpressionRow | None:
        if query_id not in self._impressions:
            value = self._rows.get("impressions", query_id.encode())
            if value is None:
                return None
            self._impressions[query_id] = ImpressionRow.decode(value)
        return self._impressions[query_id]

    def _remember_query(self, row: ImpressionRow, impression: Impression) -> None:
        remembered = self._remembered(row.query)
        if remembered is None:
            assert impression.query_vector is not None
            self._add_to_sum(impression.query_vector, 1)
            self._memory[row.query] = Remembered(vector=impression.query_vector.model_dump(), words=row.words)
            self.state.queries += 1
            for word in row.words:
                known = self._remembered(word_key(word))
                self.state.words += known is None
                self._memory[word_key(word)] = known = known or Remembered(queries=0)
                known.queries += 1
        for key in self._keys(row):
            self._changed(key).used = row.number

    def _keys(self, row: ImpressionRow) -> Iterator[str]:
        """What an impression counts for, as far as it is remembered still."""
        for key in (row.query, *map(word_key, row.words)):
            if self._remembered(key) is not None:
                yield key

    def _remembered(self, key: str) -> Remembered | None:
        if key not in self._memory:
            value = self._rows.get("memory", key.encode())
            if value is None:
                return None
            self._memory[key] = Remembered.decode(value)
        return self._memory[key]

    def _sum(self) -> NDArray[np.float32]:
        """Of the vectors of all queries that are remembered, (d,)."""
        return np.frombuffer(self._rows.get("meta", _SUM) or b"", dtype=np.float32)

    def _add_to_sum(self, vector: StampedVector, sign: int) -> None:
        known, more = self._sum(), vector.array().astype(np.float32) * np.float32(sign)
        self._rows.put("meta", _SUM, (known + more if len(known) else more).tobytes())

    def _changed(self, key: str) -> Remembered:
        found = self._remembered(key)
        assert found is not None
        return found

    def _count(self, outcome: Outcome) -> Outcome:
        self.outcomes[outcome] += 1
        return outcome


def _number_key(number: int) -> bytes:
    return number.to_bytes(_NUMBER_BYTES)


def _link_key(query_id: str) -> bytes:
    return _LINK + query_id.encode()


def _cap_key(person: str, document_id: str) -> bytes:
    return f"{person}\n{document_id}".encode()
