"""Which queries went wrong, as far as impressions and clicks tell.

An answer without a click whose query was said in other words in the same session went wrong, and the clicks on the
other answer tell what was meant. Both impressions may come first, and clicks at any time: a case is told anew when
more is known of it, under the same id, and withdrawn when the answer is clicked after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol

import orjson

from streams.events.bad_cases import BadCase, BadCaseKind
from streams.events.impressions import Impression
from streams.events.queries import SearchMode
from streams.headers import subject_id

_SHOWN = 10
_WAITING = b"\x00"  # no query id begins so


class CaseRow(NamedTuple):
    """An answer that was given in a session. at: seconds since the epoch."""

    at: float
    session: str
    query: str
    text: str | None
    mode: SearchMode | None
    shown: Sequence[str]
    rephrases: str | None = None
    rephrased_by: str | None = None
    clicked: Sequence[str] = ()

    def encode(self) -> bytes:
        return orjson.dumps(self._asdict())

    @classmethod
    def decode(cls, value: bytes) -> CaseRow:
        return cls(**orjson.loads(value))


class Rows(Protocol):
    """Where the rows stand: the column `cases` of the learner's shard, with the changes of the batch."""

    def get(self, column: Literal["cases"], key: bytes) -> bytes | None:
        """The value of a key, None when there is none."""
        ...

    def put(self, column: Literal["cases"], key: bytes, value: bytes | None) -> None:
        """Set a value; None deletes."""
        ...


class BadCases:
    """The cases of one batch, over rows of the learner's shard. `told`: by event id, what is known of each case."""

    def __init__(self, rows: Rows) -> None:
        self.told: dict[str, BadCase] = {}
        self._rows = rows
        self._read: dict[str, CaseRow | None] = {}
        self._changed: set[str] = set()

    def shown(self, query_id: str, impression: Impression, *, query: str, documents: Sequence[str]) -> None:
        """Take in the first impression of a query id. query: its key in the memory; documents: what it showed and
        nobody asked to forget."""
        row = CaseRow(
            at=impression.at.timestamp(),
            session=impression.session_id or "",
            query=query,
            text=" ".join(part.text for part in impression.parts if part.text) or None,
            mode=impression.mode,
            shown=documents[:_SHOWN],
            rephrases=impression.previous_query_id,
        )
        if not impression.shown:
            self._tell("no_hits", query_id, row)
        if impression.low_confidence:
            self._tell("low_confidence", query_id, row)
        if impression.session_id is not None:
            self._put(query_id, row)
            self._link_from(query_id, row)
            self._link_to(query_id)

    def clicked(self, query_id: str, document_id: str) -> None:
        """Take in the first click on a hit."""
        row = self._row(query_id)
        if row is None or document_id in row.clicked:
            return
        self._put(query_id, row._replace(clicked=[*row.clicked, document_id]))
        if row.rephrased_by is not None and not row.clicked:
            self._tell_rephrased(query_id)
        before = None if row.rephrases is None else self._row(row.rephrases)
        if before is not None and before.rephrased_by == query_id and not before.clicked:
            self._tell_rephrased(str(row.rephrases))

    def put(self) -> None:
        """Add what changed to the rows of the batch."""
        for query_id in self._changed:
            row = self._read[query_id]
            self._rows.put("cases", query_id.encode(), None if row is None else row.encode())

    def forget(self, query_id: str) -> None:
        """Drop what is kept of an answer, when its impression is dropped."""
        row = self._row(query_id)
        if row is not None:
            self._put(query_id, None)
            if row.rephrases is not None:
                self._rows.put("cases", _WAITING + row.rephrases.encode(), None)

    def let_go(self, query_id: str) -> None:
        """Wait no more for an answer that does not come."""
        self._rows.put("cases", _WAITING + query_id.encode(), None)

    def forget_document(self, document_id: str, query_id: str) -> None:
        """Drop a document from what is kept of an answer that showed it."""
        row = self._row(query_id)
        if row is not None and document_id in (*row.shown, *row.clicked):
            shown, clicked = (
                [each for each in ids if each != document_id] for ids in (row.shown, row.clicked)
            )
            self._put(query_id, row._replace(shown=shown, clicked=clicked))

    def _link_from(self, query_id: str, row: CaseRow) -> None:
        """Say of the query before it that it was rephrased; it may come later."""
        if row.rephrases is None:
            return
        if self._row(row.rephrases) is None:
            self._rows.put("cases", _WAITING + row.rephrases.encode(), query_id.encode())
        else:
            self._link(row.rephrases, query_id)

    def _link_to(self, query_id: str) -> None:
        waiting = self._rows.get("cases", _WAITING + query_id.encode())
        if waiting is not None:
            self._rows.put("cases", _WAITING + query_id.encode(), None)
            self._link(query_id, waiting.decode())

    def _link(self, query_id: str, rephrased_by: str) -> None:
        row, after = self._row(query_id), self._row(rephrased_by)
        if row is None or after is None or row.session != after.session or row.rephrased_by is not None:
            return
        self._put(query_id, row._replace(rephrased_by=rephrased_by))
        if not row.clicked:
            self._tell_rephrased(query_id)

    def _tell_rephrased(self, query_id: str) -> None:
        row = self._row(query_id)
        assert row is not None
        after = None if row.rephrased_by is None else self._row(row.rephrased_by)
        self._tell("no_click_rephrased", query_id, row, after=after)

    def _tell(self, kind: BadCaseKind, query_id: str, row: CaseRow, *, after: CaseRow | None = None) -> None:
        self.told[subject_id(kind, query_id)] = BadCase(
            kind=kind,
            at=datetime.fromtimestamp(row.at, UTC),
            query_id=query_id,
            query=row.query,
            text=row.text,
            mode=row.mode,
            shown=list(row.shown),
            rephrased_by=row.rephrased_by,
            rephrased_text=None if after is None else after.text,
            clicked=[] if after is None else list(after.clicked),
            withdrawn=bool(row.clicked),
        )

    def _row(self, query_id: str) -> CaseRow | None:
        if query_id not in self._read:
            value = self._rows.get("cases", query_id.encode())
            self._read[query_id] = None if value is None else CaseRow.decode(value)
        return self._read[query_id]

    def _put(self, query_id: str, row: CaseRow | None) -> None:
        self._read[query_id] = row
        self._changed.add(query_id)
