"""Forgetting people and documents: what they brought is taken back, and the logs cannot bring it again.

What is forgotten is known by a digest alone. Whatever else is once kept of people (rows to train on) is to be given
up in `_forget_person`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from state.clicks.examination import POSITIONS, examination
from state.clicks.ledger_rows import LINK, LedgerRows, cap_key, link_key
from state.clicks.rows import HIDDEN, LINKED, ImpressionRow, Remembered, person_of
from streams.events.click_memory import QUERY_PREFIX
from streams.events.forgetting import ForgetRequest
from streams.events.impressions import Impression

_PERSON, _DOCUMENT, _QUERY = b"person/", b"document/", b"query/"


@dataclass(frozen=True)
class Forgotten:
    """How much was forgotten: impressions and clicks, remembered keys that changed and that are gone."""

    impressions: int = 0
    clicks: int = 0
    changed: int = 0
    removed: int = 0


class Forgetting:
    """What is forgotten in a batch, and what was before it."""

    def __init__(self, rows: LedgerRows) -> None:
        self._rows = rows
        self._keys: set[str] = set()

    def forget(self, request: ForgetRequest, *, at: float, until: float) -> Forgotten:
        """Forget what a request from `at` names; nothing of it comes back before `until`."""
        self._keys = set()
        dropped = [self._forget_person(person, at=at, until=until) for person in request.people]
        if request.document_id is not None:
            dropped.append(self._forget_document(request.document_id, at=at, until=until))
        self._rows.tell_summary_again()
        removed = self._give_up_what_nobody_asked()
        return Forgotten(
            impressions=sum(impressions for impressions, _ in dropped),
            clicks=sum(clicks for _, clicks in dropped),
            changed=len(self._keys) - removed,
            removed=removed,
        )

    # -- what is forgotten already ----------------------------------------------------------------------

    def is_forgotten(self, query_id: str, impression: Impression) -> bool:
        """Whether it is of somebody who is forgotten; then so is what comes for this query."""
        since = self._forgotten(_PERSON, person_of(impression))
        if since is not None:
            self._remember_forgotten(_QUERY, query_id, at=since[0], until=since[1])
        return since is not None

    def is_forgotten_query(self, query_id: str) -> bool:
        """Whether the impression of a query was one of these."""
        return self._forgotten(_QUERY, query_id) is not None

    def shown_id(self, document_id: str, impression: Impression) -> str:
        """The id of a document that was shown; empty when it was forgotten since."""
        since = self._forgotten(_DOCUMENT, document_id)
        return document_id if since is None or impression.at.timestamp() > since[0] else ""

    def expire(self) -> None:
        """Forget that something was forgotten, when no log can bring it back any more."""
        for key, value in self._rows.columns.items("forgotten"):
            if orjson.loads(value)[1] < self._rows.state.newest:
                self._rows.rows.put("forgotten", key, None)
                self._rows.state.forgotten -= 1

    def _forgotten(self, prefix: bytes, name: str) -> tuple[float, float] | None:
        """Since when something is forgotten, and until when that is remembered; None when it is not."""
        if not self._rows.state.forgotten:
            return None
        value = self._rows.rows.get("forgotten", _digest(prefix, name))
        return None if value is None else tuple(orjson.loads(value))

    def _remember_forgotten(self, prefix: bytes, name: str, *, at: float, until: float) -> None:
        key = _digest(prefix, name)
        self._rows.state.forgotten += self._rows.rows.get("forgotten", key) is None
        self._rows.rows.put("forgotten", key, orjson.dumps((at, until)))

    # -- people -----------------------------------------------------------------------------------------

    def _forget_person(self, person: str, *, at: float, until: float) -> tuple[int, int]:
        """All impressions of a person and what they added; returns how many, and how many clicks."""
        self._remember_forgotten(_PERSON, person, at=at, until=until)
        self._rows.profiles.forget(person)
        found = self._impressions(person)
        for query_id, row in found.items():
            self._take_back_link(query_id, row)
        for query_id, row in found.items():
            self._take_back(row)
            self._rows.drop_impression(query_id, row)
            self._remember_forgotten(_QUERY, query_id, at=at, until=until)
        return len(found), sum(len(row.clicked) for row in found.values())

    def _impressions(self, person: str) -> Mapping[str, ImpressionRow]:
        rows = ((each, self._rows.impression(each)) for each in self._rows.stored_impressions(person))
        return {query_id: row for query_id, row in rows if row is not None and row.person == person}

    def _take_back(self, row: ImpressionRow) -> None:
        for key in list(self._rows.keys_of(row)):
            remembered = self._changed(key)
            remembered.impressions -= 1
            _subtract(remembered, row, 1.0, exponent=row.counted)
            for document_id in row.hidden:
                remembered.take(document_id, expected=HIDDEN)
        for document_id in row.clicked:
            self._rows.take_back_position(row, document_id)

    def _take_back_link(self, query_id: str, row: ImpressionRow) -> None:
        """What its clicks counted for the query before it, or would when that comes."""
        if row.previous is None:
            return
        before = self._rows.impression(row.previous)
        if before is None:
            self._keep_early(link_key(row.previous), lambda entry: entry[0] != query_id)
        elif row.linked is not None:
            for key in list(self._rows.keys_of(before)):
                _subtract(self._changed(key), row, LINKED, exponent=row.linked)

    def _changed(self, key: str) -> Remembered:
        self._keys.add(key)
        self._rows.emptied.add(key)
        return self._rows.changed(key)

    def _give_up_what_nobody_asked(self) -> int:
        """Queries and words of which no impression is left that brought them."""
        gone = [key for key in sorted(self._keys) if self._rows.changed(key).impressions <= 0]
        for key in gone:  # queries come before words, which lose one of their queries each
            if key.startswith(QUERY_PREFIX):
                self._rows.forget_query(key)
            else:
                self._rows.forget_word(key)
        return len(gone)

    # -- documents --------------------------------------------------------------------------------------

    def _forget_document(self, document_id: str, *, at: float, until: float) -> tuple[int, int]:
        """A document in the memory and in all lists that were shown until then, where its place stays, empty."""
        self._remember_forgotten(_DOCUMENT, document_id, at=at, until=until)
        impressions = clicks = 0
        for query_id in self._rows.stored_impressions(document_id):
            row = self._rows.impression(query_id)
            if row is not None and row.at <= at and row.position_of(document_id) is not None:
                impressions += 1
                clicks += document_id in row.clicked
                self._rows.impressions[query_id] = _without(row, document_id)
                self._rows.bad_cases.forget_document(document_id, query_id)
                self._rows.rows.put("caps", cap_key(row.person, document_id), None)
        self._rows.profiles.forget_document(document_id)
        self._forget_clicks_on(document_id)
        self._forget_waiting(document_id)
        return impressions, clicks

    def _forget_clicks_on(self, document_id: str) -> None:
        wanted = orjson.dumps(document_id)
        stored = [key.decode() for key, value in self._rows.columns.items("memory") if wanted in value]
        for key in dict.fromkeys([*stored, *self._rows.memory]):
            remembered = self._rows.remembered(key)
            if remembered is not None and document_id in remembered.documents:
                del self._changed(key).documents[document_id]

    def _forget_waiting(self, document_id: str) -> None:
        stored = (key for key, _ in self._rows.columns.items("early"))
        for key in dict.fromkeys([*stored, *self._rows.rows.mutations.columns["early"]]):
            if not key.startswith(LINK):
                self._keep_early(key, lambda entry: entry[0] != document_id)

    def _keep_early(self, key: bytes, is_kept: Callable[[list[Any]], bool]) -> None:
        """Let go of what waits under a key and is not to be kept."""
        for entry in filter(is_kept, self._rows.taken_early(key)):
            self._rows.put_early(key, entry)


def _digest(prefix: bytes, name: str) -> bytes:
    """By which what is forgotten is known again, without holding it."""
    return prefix + hashlib.blake2b(name.encode(), digest_size=16).digest()


def _without(row: ImpressionRow, document_id: str) -> ImpressionRow:
    shown = [hit._replace(document_id="") if hit.document_id == document_id else hit for hit in row.shown]
    return row._replace(
        shown=shown,
        acts=[act for act in row.acts if act.document_id != document_id],
        clicked=[each for each in row.clicked if each != document_id],
        hidden=[each for each in row.hidden if each != document_id],
    )


def _subtract(remembered: Remembered, row: ImpressionRow, weight: float, *, exponent: float | None) -> None:
    """Take back what a list and the clicks on it added, each `weight` times."""
    if exponent is not None:
        looked_at = _examination(exponent)
        for hit in row.shown:
            expected = weight * float(looked_at[min(hit.position, POSITIONS) - 1])
            remembered.take(hit.document_id, expected=expected)
    for document_id in row.clicked:
        remembered.take(document_id, clicks=weight)


@lru_cache(8)
def _examination(exponent: float) -> NDArray[np.float64]:
    return examination(POSITIONS, exponent)
