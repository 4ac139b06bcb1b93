"""The rows that a batch of events reads and changes: impressions, what is remembered, counters; written at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from state.clicks.bad_cases import BadCases
from state.clicks.examination import fit_exponent
from state.clicks.profiles import Profiles
from state.clicks.rows import ImpressionRow, Remembered, query_key
from state.columns import Columns, Mutations, Overlay
from streams.events.assignments import StampedVector
from streams.events.click_memory import word_key
from streams.events.impressions import Impression
from streams.settings import LearningSettings, PersonalSettings

ColumnName = Literal[
    "meta",
    "impressions",
    "order",
    "early",
    "memory",
    "caps",
    "forgotten",
    "sessions",
    "cases",
    "profiles",
    "profile_days",
]

LINK = b"\x00"
"""What waits for the query before begins so, and no query id does."""
_STATE, _SUM = b"state", b"sum"
_NUMBER_BYTES = 8
_TELL_AGAIN = -1


@dataclass(slots=True)
class LedgerState:
    """Counters that hold for all of it.

    number, oldest: of the next impression, and of the oldest that is kept. newest: time of the newest, seconds
    since the epoch. since: time of the earliest one with a click. told_queries, told_exponent: as the last summary
    said. pairs: by upper position, clicks at it and at the one below, where chance put them in order. forgotten:
    how many people, queries and documents must not come back. hidden: how often a hit was hidden. trained_clicks,
    trained_at, trained_documents: clicks, time and events of documents of the last request for a training.
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
    forgotten: int = 0
    hidden: int = 0
    trained_clicks: int = 0
    trained_at: float = 0.0
    trained_documents: int = 0

    def encode(self) -> bytes:
        return orjson.dumps({**asdict(self), "pairs": sorted(self.pairs.items())})

    @classmethod
    def decode(cls, value: bytes) -> LedgerState:
        row = orjson.loads(value)
        return cls(**{**row, "pairs": dict(row["pairs"])})

    @property
    def exponent(self) -> float:
        return fit_exponent(self.pairs)


class LedgerRows:
    """One batch over the rows of the shard: what comes later sees each change. `mutations` is their sum."""

    def __init__(
        self,
        columns: Columns[ColumnName],
        settings: LearningSettings,
        *,
        stamp: str,
        personal: PersonalSettings | None = None,
    ) -> None:
        """`stamp`: of the encoder whose queries are remembered. `personal`: None keeps no profiles."""
        self.columns = columns
        self.settings = settings
        self.stamp = stamp
        self.rows = Overlay(columns)
        self.bad_cases = BadCases(self.rows)
        self.profiles = Profiles(self.rows, personal)
        self.memory: dict[str, Remembered | None] = {}
        self.impressions: dict[str, ImpressionRow] = {}
        self.emptied: set[str] = set()
        value = columns.get("meta", _STATE)
        self.state = LedgerState() if value is None else LedgerState.decode(value)

    def mutations(self) -> Mutations[ColumnName]:
        """All changes, for one write. The rows are used up."""
        for query_id, row in self.impressions.items():
            self.rows.put("impressions", query_id.encode(), row.encode())
        for key, remembered in self.memory.items():
            self.rows.put("memory", key.encode(), None if remembered is None else remembered.encode())
        self.bad_cases.put()
        self.rows.put("meta", _STATE, self.state.encode())
        return self.rows.mutations

    @property
    def has_changed(self) -> bool:
        """Whether there is anything to write but counters."""
        return bool(self.impressions or self.memory or any(self.rows.mutations.columns.values()))

    @property
    def touched(self) -> dict[str, Remembered | None]:
        """What is remembered now under each key that changed; None: forgotten, or nothing is left to tell."""
        return {
            key: None if key in self.emptied and known is not None and not known.documents else known
            for key, known in self.memory.items()
        }

    def read_ahead(self, query_ids: Sequence[str], impressions: Sequence[Impression]) -> None:
        """Read the rows that events are about together: one by one costs more, and threads take turns.

        query_ids: of all events. impressions: those among them.
        """
        ids = list(dict.fromkeys(query_ids))
        keys = [each.encode() for each in ids]
        self.rows.read_ahead("impressions", keys)
        self.rows.read_ahead("cases", keys)
        self.rows.read_ahead("early", [*keys, *map(link_key, ids)])
        queries = [query_key(each.query_vector) for each in impressions if each.query_vector is not None]
        words = [word_key(word) for each in impressions for word in each.unknown_words]
        self.rows.read_ahead("memory", [key.encode() for key in dict.fromkeys([*queries, *words])])

    # -- impressions ------------------------------------------------------------------------------------

    def impression(self, query_id: str) -> ImpressionRow | None:
        """The row of an impression, None when there is none."""
        if query_id not in self.impressions:
            value = self.rows.get("impressions", query_id.encode())
            if value is None:
                return None
            self.impressions[query_id] = ImpressionRow.decode(value)
        return self.impressions[query_id]

    def stored_impressions(self, text: str = "") -> list[str]:
        """Ids of the impressions whose rows hold this text, and of all that this batch has read."""
        wanted = orjson.dumps(text)[1:-1]
        stored = [key.decode() for key, value in self.columns.items("impressions") if wanted in value]
        return [each for each in dict.fromkeys([*stored, *self.impressions]) if self.impression(each)]

    def drop_impression(self, query_id: str, row: ImpressionRow) -> None:
        """Give an impression up; what its clicks took of the cap of its person is free again."""
        for document_id in (*row.clicked, *row.hidden):
            key = cap_key(row.person, document_id)
            left = int(self.rows.get("caps", key) or 0) - 1
            self.rows.put("caps", key, b"%d" % left if left > 0 else None)
        self.bad_cases.forget(query_id)
        self.impressions.pop(query_id, None)
        self.rows.put("impressions", query_id.encode(), None)
        self.rows.put("order", number_key(row.number), None)

    def take_back_position(self, row: ImpressionRow, document_id: str) -> None:
        """Take back what a click told about a pair that chance had put in order."""
        position = row.position_of(document_id)
        for upper in row.random_pairs:
            if position in (upper, upper + 1) and upper in self.state.pairs:
                clicks = self.state.pairs[upper]
                clicks[position - upper] = max(0.0, clicks[position - upper] - 1)

    # -- what is remembered -----------------------------------------------------------------------------

    def remember(self, row: ImpressionRow, impression: Impression) -> None:
        """Begin to remember the query of an impression and its words, or go on."""
        if self.remembered(row.query) is None:
            assert impression.query_vector is not None
            self.add_to_sum(impression.query_vector, 1)
            self.memory[row.query] = Remembered(
                vector=impression.query_vector.model_dump(), words=row.words, first=row.number
            )
            self.state.queries += 1
            for word in row.words:
                known = self.remembered(word_key(word))
                self.state.words += known is None
                self.memory[word_key(word)] = known = known or Remembered(queries=0, first=row.number)
                known.queries += 1
        for key in self.keys_of(row):
            remembered = self.changed(key)
            remembered.used = row.number
            remembered.impressions += 1

    def keys_of(self, row: ImpressionRow) -> Iterator[str]:
        """What an impression counts for, as far as it is remembered still."""
        for key in dict.fromkeys((row.query, *map(word_key, row.words))):
            remembered = self.remembered(key)
            if remembered is not None and remembered.first <= row.number:
                yield key

    def remembered(self, key: str) -> Remembered | None:
        """What is remembered under a key, None when nothing is."""
        if key not in self.memory:
            value = self.rows.get("memory", key.encode())
            if value is None:
                return None
            self.memory[key] = Remembered.decode(value)
        return self.memory[key]

    def changed(self, key: str) -> Remembered:
        """The same, to be changed in place."""
        found = self.remembered(key)
        assert found is not None
        return found

    def forget_query(self, key: str) -> None:
        """Remember a query no more."""
        remembered = self.changed(key)
        self.memory[key] = None
        self.state.queries -= 1
        if remembered.vector is not None:
            self.add_to_sum(StampedVector.model_construct(**remembered.vector), -1)
        for word in remembered.words:
            known = self.remembered(word_key(word))
            if known is not None:
                known.queries -= 1

    def forget_word(self, key: str) -> None:
        """Remember a word no more."""
        self.memory[key] = None
        self.state.words -= 1

    def sum(self) -> NDArray[np.float32]:
        """Of the vectors of all queries that are remembered, (d,)."""
        return np.frombuffer(self.rows.get("meta", _SUM) or b"", dtype=np.float32)

    def add_to_sum(self, vector: StampedVector, sign: int) -> None:
        """Add a vector to it, or take it away: the sum of none is nothing, whatever rounding left."""
        known, more = self.sum(), vector.array().astype(np.float32) * np.float32(sign)
        total = known + more if len(known) else more
        if sign < 0 and not self.state.queries:
            total = np.zeros_like(total)
        self.rows.put("meta", _SUM, total.tobytes())

    def tell_summary_again(self) -> None:
        """What holds for the whole memory is told with this batch, however little it has changed."""
        self.state.told_queries = _TELL_AGAIN

    # -- what came before its impression ----------------------------------------------------------------

    def put_early(self, key: bytes, entry: Sequence[str | float]) -> bool:
        """Keep it until the impression comes; the last of an entry is its time. False when too many wait."""
        waiting = orjson.loads(self.rows.get("early", key) or b"[]")
        if len(waiting) >= self.settings.early_per_query:
            return False
        self.rows.put("early", key, orjson.dumps([*waiting, list(entry)]))
        return True

    def taken_early(self, key: bytes) -> list[list[Any]]:
        """What waits under a key; it waits no more."""
        value = self.rows.get("early", key)
        if value is None:
            return []
        self.rows.put("early", key, None)
        found: list[list[Any]] = orjson.loads(value)
        return found


def number_key(number: int) -> bytes:
    """The key of an impression in the order of arrival."""
    return number.to_bytes(_NUMBER_BYTES)


def link_key(query_id: str) -> bytes:
    """Under which clicks wait for the impression of the query before."""
    return LINK + query_id.encode()


def cap_key(person: str, document_id: str) -> bytes:
    """Under which the clicks of a person on a document are counted; names neither."""
    return hashlib.blake2b(f"{person}\n{document_id}".encode(), digest_size=16).digest()
