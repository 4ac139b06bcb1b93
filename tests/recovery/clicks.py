"""Impressions and feedback that a test writes to the topics, and what the click memory must come to."""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime

import numpy as np

from models.encoders.registry import describe_encoder
from state.clicks.rows import query_key
from streams.events.assignments import StampedVector
from streams.events.click_memory import QUERY_PREFIX, WORD_PREFIX, RememberedClicks, word_key
from streams.events.forgetting import ForgetRequest
from streams.events.impressions import Feedback, Impression
from tests.recovery.system import System

STAMP = describe_encoder("hash").stamp
Counts = Mapping[str, tuple[float, float]]

QUERIES, WORDS, DOCUMENTS, SHOWN = 12, 5, 30, 4
_LINKED = 0.5


class Clicks:
    """People who ask, click, say it in other words, and click what was never shown; deterministic by its seed.

    Every person asks once or twice and clicks a document once, so that no cap counts. The truth is plain sums.
    """

    def __init__(self, system: System, *, seed: int) -> None:
        self._system = system
        self._random = random.Random(seed)
        self._truth: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
        self._user: str | None = None
        self._people = 0
        self._seed = seed
        self.refused = 0
        vectors = np.random.default_rng(7).normal(size=(QUERIES, 8)).astype(np.float32)
        self._vectors = [StampedVector.of(STAMP, "fused", row) for row in vectors]

    def one(self) -> None:
        """A first impression with a click: from then on, what is shown is expected to be clicked."""
        shown = self._show("first", before=None)
        self._click("first", shown, shown.shown[0].document_id, late=False)
        self._system.producer.flush(30.0)

    def many(self, people: int) -> None:
        """Events of so many people, feedback here and there before its impression."""
        for _ in range(people):
            self._person()
        assert self._system.producer.flush(60.0) == 0

    def of_somebody(self, person: str, people: int) -> None:
        """Such events of one user (a hash) who is to be forgotten: the truth does not know them."""
        truth, self._user = deepcopy(self._truth), person
        try:
            self.many(people)
        finally:
            self._truth, self._user = truth, None

    def forget(self, person: str) -> str:
        """Ask the learner to forget this user; returns the id of the request."""
        request = ForgetRequest(request_id=str(uuid.uuid4()), people=[person])
        self._write("forget", request.request_id, request.to_json())
        assert self._system.producer.flush(60.0) == 0
        return request.request_id

    def truth(self) -> dict[str, Counts]:
        """Clicks and expected clicks by key of the memory and document."""
        return {
            key: {name: (round(c, 3), round(e, 3)) for name, (c, e) in documents.items()}
            for key, documents in self._truth.items()
        }

    def remembered(self) -> dict[str, Counts]:
        """The same, as the topic says now."""
        latest = {record.key: record.value for record in self._system.records("click-memory")}
        found = {}
        for key, value in latest.items():
            name = (key or b"").decode()
            if value is not None and name.startswith((QUERY_PREFIX, WORD_PREFIX)):
                documents = RememberedClicks.model_validate_json(value).documents
                found[name] = {each: (round(c, 3), round(e, 3)) for each, (c, e) in documents.items()}
        return found

    def _person(self) -> None:
        self._people += 1
        query_id = f"q{self._seed}-{self._people}"
        early = self._random.random() < 0.3
        first = self._show(query_id, before=None, wait=early)
        chosen = self._random.choice(first.shown).document_id
        act = self._random.random()
        if act < 0.4:
            self._click(query_id, first, chosen)
        elif act < 0.7:
            again = self._show(query_id + "-again", before=first)
            self._click(query_id + "-again", again, self._random.choice(again.shown).document_id, link=first)
        elif act < 0.8:
            self._write("feedback", query_id, b'{"query_id": "%s", "document_id":' % query_id.encode())
        elif act < 0.9:
            self._give(query_id, "never-shown")
        if early:
            self._write("impressions", query_id, first.to_json())

    def _show(self, query_id: str, *, before: Impression | None, wait: bool = False) -> Impression:
        number = self._random.randrange(QUERIES)
        shown = self._random.sample(range(DOCUMENTS), SHOWN)
        made = Impression(
            query_id=query_id,
            user=self._user,
            session_id=f"session-{self._seed}-{self._people}",
            previous_query_id=None if before is None else before.query_id,
            parts=[],
            query_vector=self._vectors[number],
            unknown_words=[f"word{number}"] if number < WORDS else [],
            shown=[
                {"document_id": f"d{n}", "position": place, "score": 0.0, "propensity": 1 / place}  # type: ignore[list-item]
                for place, n in enumerate(shown, start=1)
            ],
            models=[STAMP],
            epoch=0,
            fresh_to=[],
            at=datetime.now(UTC),
        )
        self._expect(made, made, 1.0)
        if not wait:
            self._write("impressions", query_id, made.to_json())
        return made

    def _click(
        self,
        query_id: str,
        shown: Impression,
        document_id: str,
        *,
        link: Impression | None = None,
        late: bool = True,
    ) -> None:
        self._give(query_id, document_id)
        if late and self._random.random() < 0.3:
            self._give(query_id, document_id)  # a client that is not sure
        for key in _keys(shown):
            self._truth[key][document_id][0] += 1
        if link is not None:
            self._expect(link, shown, _LINKED)
            for key in _keys(link):
                self._truth[key][document_id][0] += _LINKED

    def _expect(self, of: Impression, shown: Impression, weight: float) -> None:
        for key in _keys(of):
            for hit in shown.shown:
                self._truth[key][hit.document_id][1] += weight / hit.position

    def _give(self, query_id: str, document_id: str) -> None:
        given = Feedback.model_validate({"query_id": query_id, "document_id": document_id, "action": "click"})
        self._write("feedback", query_id, given.to_json())

    def _write(self, topic: str, key: str, value: bytes) -> None:
        self._system.producer.produce(self._system.settings.topic(topic), key=key.encode(), value=value)
        self._system.producer.poll(0)


def _keys(impression: Impression) -> list[str]:
    assert impression.query_vector is not None
    return [query_key(impression.query_vector), *map(word_key, impression.unknown_words)]
