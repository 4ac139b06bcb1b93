"""What impressions and feedback change in the learner's shard. Both may come first.

An impression counts what it showed as expected clicks, by the probability that each position is looked at; a click
counts for the query and for its unknown words. The first click on the answer to a rephrased query is credited to
the query before it as well, half: without that, words that find nothing could hardly be learned. Who hides a hit
takes a click on it back, and it counts as passed over several times.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
import orjson

from state.clicks.examination import POSITIONS, examination
from state.clicks.forgetting import Forgetting, Forgotten
from state.clicks.ledger_rows import (
    LINK,
    ColumnName,
    LedgerRows,
    cap_key,
    link_key,
    number_key,
)
from state.clicks.profiles import Chosen
from state.clicks.rows import (
    HIDDEN,
    LINKED,
    Act,
    ImpressionRow,
    Remembered,
    Shown,
    person_of,
    query_key,
)
from state.clicks.trial import Step, Trial
from state.columns import Columns, Mutations
from streams.events.assignments import StampedVector
from streams.events.click_memory import QUERY_PREFIX, WORD_PREFIX, MemorySummary
from streams.events.forgetting import ForgetRequest
from streams.events.impressions import Feedback, Impression
from streams.settings import LearningSettings, PersonalSettings

Outcome = Literal[
    "counted", "noted", "waiting", "repeated", "not_shown", "late", "capped", "expired", "forgotten"
]
"""What became of an event. `noted`: kept, but no click. Those from `repeated` on are refusals."""

POSITIVE = frozenset({"click", "save", "convert"})
HIDE = "hide"
_SLACK = 1.1
"""So far above what is kept, it is cut back: each time all of it is looked through."""
_EXPONENT_STEP = 0.02
_TOLD_POSITIONS = 20


class Ledger(LedgerRows):
    """One batch of events over the rows of the shard. `mutations` and `touched` are what it comes to."""

    def __init__(
        self,
        columns: Columns[ColumnName],
        settings: LearningSettings,
        *,
        stamp: str,
        step: Step | None = None,
        personal: PersonalSettings | None = None,
    ) -> None:
        """`stamp`: of the encoder whose queries are remembered; others are left out. `step`: of a rollout.
        `personal`: None keeps no profiles."""
        super().__init__(columns, settings, stamp=stamp, personal=personal)
        # No cycle: a ledger and all its rows go with its batch, and do not wait for a search for garbage.
        itself: Ledger = weakref.proxy(self)
        self.trial = Trial(itself, step)
        self.outcomes: Counter[Outcome] = Counter()
        self._forgetting = Forgetting(itself)
        self._exponent = self.state.exponent
        self._examination = examination(POSITIONS, self._exponent).tolist()

    # -- events -----------------------------------------------------------------------------------------

    def shown(self, query_id: str, impression: Impression) -> Outcome:
        """Take in an impression; the first of a query id counts. Feedback that came before it is taken in too."""
        if self.impression(query_id) is not None:
            return self._count("repeated")
        if impression.query_vector is None or impression.query_vector.stamp != self.stamp:
            return self._count("noted")
        if self._forgetting.is_forgotten(query_id, impression):
            self.outcomes["forgotten"] += len(self.taken_early(query_id.encode()))
            self.taken_early(link_key(query_id))
            self.bad_cases.let_go(query_id)
            return self._count("forgotten")
        row = ImpressionRow(
            number=self.state.number,
            at=impression.at.timestamp(),
            query=query_key(impression.query_vector),
            words=impression.unknown_words,
            shown=[
                Shown(
                    self._forgetting.shown_id(hit.document_id, impression),
                    hit.position,
                    hit.team,
                    hit.relevance,
                    hit.lexical or 0.0,
                )
                for hit in impression.shown
            ],
            person=person_of(impression),
            session=impression.session_id,
            previous=impression.previous_query_id,
            random_pairs=impression.random_pairs,
            models=impression.models,
            arm=impression.arm,
            typed=[part.kind for part in impression.parts] == ["text"],
        )
        self.state.number += 1
        self.state.newest = max(self.state.newest, row.at)
        self.rows.put("order", number_key(row.number), query_id.encode())
        self.remember(row, impression)
        self.impressions[query_id] = row
        if self.state.since is not None and row.at >= self.state.since:
            self.impressions[query_id] = self._expect(row)
        self.trial.shown(row, impression.took_ms)
        self._count("noted")
        known = [hit.document_id for hit in row.shown if hit.document_id]
        self.bad_cases.shown(query_id, impression, query=row.query, documents=known)
        if row.previous is not None and self._forgetting.is_forgotten_query(row.previous):
            self.bad_cases.let_go(row.previous)
        self._take_early(query_id)
        self._take_links(query_id)
        return "noted"

    def given(self, query_id: str, feedback: Feedback, at: float) -> Outcome:
        """Take in feedback; `at`: when it was given. What comes before its impression waits for it."""
        row, act = self.impression(query_id), Act(feedback.document_id, feedback.action, at)
        if row is None and self._forgetting.is_forgotten_query(query_id):
            return self._count("forgotten")
        if row is None:
            kept = self.put_early(query_id.encode(), act)
            return self._count("waiting" if kept else "expired")
        return self._count(self._act(query_id, row, act))

    def forget(self, request: ForgetRequest, *, at: float, until: float) -> Forgotten:
        """Take back and give up what is kept of people, or of a document that was shown before `at`.

        What their events would bring back is refused up to `until`: logs may be read again. Both are seconds since
        the epoch.
        """
        return self._forgetting.forget(request, at=at, until=until)

    def summary(self) -> MemorySummary | None:
        """What holds for the whole memory, when that has changed enough to be told again."""
        state = self.state
        moved = abs(self._exponent - state.told_exponent) > _EXPONENT_STEP
        if state.queries <= state.told_queries * _SLACK and not moved:
            return None
        state.told_queries, state.told_exponent = state.queries, self._exponent
        centre = self.sum() / np.float32(max(1, state.queries))
        return MemorySummary(
            queries=state.queries,
            centre=StampedVector.of(self.stamp, "fused", centre),
            examination=[round(each, 4) for each in self._examination[:_TOLD_POSITIONS]],
            exponent=round(self._exponent, 4),
        )

    def mutations(self) -> Mutations[ColumnName]:
        """All changes, for one write. The ledger is used up."""
        self.trial.put()
        return super().mutations()

    # -- clicks -----------------------------------------------------------------------------------------

    def _act(self, query_id: str, row: ImpressionRow, act: Act) -> Outcome:
        position = row.position_of(act.document_id)
        if position is None:
            return "not_shown"
        if abs(act.at - row.at) > self.settings.join_window_s:
            return "late"
        if any((known.document_id, known.action) == act[:2] for known in row.acts):
            return "repeated"
        row = row._replace(acts=[*row.acts, act])
        self.impressions[query_id] = row
        if act.document_id in row.hidden:  # whatever came before or comes after, it is not wanted
            return "noted"
        if act.action == HIDE:
            return self._hide(query_id, row, act.document_id)
        if act.action not in POSITIVE or act.document_id in row.clicked:
            return "noted"
        self.bad_cases.clicked(query_id, act.document_id)
        if not self._within_cap(row.person, act.document_id):
            return "capped"
        self._credit(query_id, row, act.document_id, position)
        self.profiles.chose(row.person, Chosen(act.document_id, act.at))
        return "counted"

    def _credit(self, query_id: str, row: ImpressionRow, document_id: str, position: int) -> None:
        self.state.accepted += 1
        if self.state.since is None or row.at < self.state.since:
            self._begin(row.at)
            row = self.impressions[query_id]
        self.trial.clicked(row, document_id)
        for key in self.keys_of(row):
            self.changed(key).add(document_id, clicks=1.0)
        for upper in row.random_pairs:
            if position in (upper, upper + 1):
                self.state.pairs.setdefault(upper, [0.0, 0.0])[position - upper] += 1
        self.impressions[query_id] = row._replace(clicked=[*row.clicked, document_id])
        if row.previous is not None and row.session is not None:
            before = self.impression(row.previous)
            if before is not None:
                self._link(query_id, before, [document_id])
            elif not self._forgetting.is_forgotten_query(row.previous):
                self.put_early(link_key(row.previous), (query_id, row.at))

    def _hide(self, query_id: str, row: ImpressionRow, document_id: str) -> Outcome:
        """Expect clicks that did not come; take a click on the same hit back, and its place in the cap over."""
        if document_id in row.clicked:
            self._take_back(row, document_id)
        elif not self._within_cap(row.person, document_id):
            return "capped"
        for key in self.keys_of(row):
            self.changed(key).add(document_id, expected=HIDDEN)
        self.state.hidden += 1
        self.impressions[query_id] = row._replace(
            clicked=[each for each in row.clicked if each != document_id],
            hidden=[*row.hidden, document_id],
        )
        return "counted"

    def _take_back(self, row: ImpressionRow, document_id: str) -> None:
        """A click, for the query and for the one that it rephrased."""
        self.trial.unclicked(row, document_id)
        self.profiles.take_back(row.person, document_id)
        self.take_back_position(row, document_id)
        for key in self.keys_of(row):
            self.changed(key).take(document_id, clicks=1.0)
        before = self.impression(row.previous or "") if row.linked is not None else None
        for key in () if before is None else self.keys_of(before):
            self.changed(key).take(document_id, clicks=LINKED)

    def _link(self, query_id: str, before: ImpressionRow, documents: Sequence[str]) -> None:
        """Credit clicks on an answer to the query that it rephrased, of the same session."""
        row = self.impressions[query_id]
        if before.session != row.session:
            return
        if row.linked is None:
            self._expect_at(before, row.shown, LINKED)
            self.impressions[query_id] = row._replace(linked=self._exponent)
        for key in self.keys_of(before):
            for document_id in documents:
                self.changed(key).add(document_id, clicks=LINKED)

    def _begin(self, since: float) -> None:
        """Expect clicks on what was shown from this time on: before, nobody told of any.

        The earliest impression with a click decides, not the first click that is read: partitions have no order.
        """
        self.state.since = since
        stored = (key.decode() for key, _ in self.columns.items("impressions"))
        for query_id in [*stored, *self.impressions]:
            row = self.impression(query_id)
            if row is not None and row.counted is None and row.at >= since:
                self.impressions[query_id] = self._expect(row)

    def _expect(self, row: ImpressionRow) -> ImpressionRow:
        self._expect_at(row, row.shown, 1.0)
        return row._replace(counted=self._exponent)

    def _expect_at(self, row: ImpressionRow, shown: Sequence[Shown], weight: float) -> None:
        for key in self.keys_of(row):
            remembered = self.changed(key)
            for hit in shown:
                if not hit.document_id:  # forgotten since
                    continue
                looked_at = self._examination[min(hit.position, len(self._examination)) - 1]
                remembered.add(hit.document_id, expected=weight * looked_at)

    def _within_cap(self, person: str, document_id: str) -> bool:
        key = cap_key(person, document_id)
        clicks = int(self.rows.get("caps", key) or 0)
        if clicks >= self.settings.clicks_per_user:
            return False
        self.rows.put("caps", key, b"%d" % (clicks + 1))
        return True

    # -- what came before its impression --------------------------------------------------------------------

    def _take_early(self, query_id: str) -> None:
        """Feedback that came before the impression."""
        for each in self.taken_early(query_id.encode()):
            self._count(self._act(query_id, self.impressions[query_id], Act(*each)))

    def _take_links(self, query_id: str) -> None:
        """Clicks on answers that rephrased this query, which came before it: from other partitions."""
        for next_id in dict.fromkeys(each[0] for each in self.taken_early(link_key(query_id))):
            row = self.impression(next_id)
            if row is not None:
                self._link(next_id, self.impressions[query_id], row.clicked)

    # -- what is given up -------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Give up what is more than the settings keep: the oldest impressions, what was used longest ago, old
        profiles."""
        while self.state.number - self.state.oldest > self.settings.impressions:
            self._drop_oldest()
            self.state.oldest += 1
        if self.state.queries > self.settings.queries * _SLACK:
            self._forget_queries(self.state.queries - self.settings.queries)
        if self.state.words > self.settings.words * _SLACK:
            self._forget_words(self.state.words - self.settings.words)
        for remembered in filter(None, self.memory.values()):
            remembered.keep(self.settings.documents)
        self.profiles.drop_old(self.state.newest)

    def expire(self) -> None:
        """Give up feedback whose impression did not come within the window."""
        oldest = self.state.newest - self.settings.join_window_s
        for key, value in self.columns.items("early"):
            waiting = orjson.loads(value)
            kept = [entry for entry in waiting if entry[-1] > oldest]
            if len(kept) < len(waiting):
                self.rows.put("early", key, orjson.dumps(kept) if kept else None)
                if not key.startswith(LINK):
                    self.outcomes["expired"] += len(waiting) - len(kept)
        self._forgetting.expire()

    def _drop_oldest(self) -> None:
        query_id = self.rows.get("order", number_key(self.state.oldest))
        row = None if query_id is None else self.impression(query_id.decode())
        if query_id is not None and row is not None:
            self.drop_impression(query_id.decode(), row)

    def _forget_queries(self, count: int) -> None:
        for key in self._longest_unused(QUERY_PREFIX, count):
            self.forget_query(key)

    def _forget_words(self, count: int) -> None:
        for key in self._longest_unused(WORD_PREFIX, count):
            self.forget_word(key)

    def _longest_unused(self, prefix: str, count: int) -> list[str]:
        stored = (key.decode() for key, _ in self.columns.items("memory", prefix=prefix.encode()))
        keys = dict.fromkeys([*stored, *(key for key in self.memory if key.startswith(prefix))])
        found = [(key, known) for key in keys if (known := self.remembered(key)) is not None]
        return [key for key, _ in sorted(found, key=_used)[:count]]

    def _count(self, outcome: Outcome) -> Outcome:
        self.outcomes[outcome] += 1
        return outcome


def _used(remembered: tuple[str, Remembered]) -> int:
    return remembered[1].used
