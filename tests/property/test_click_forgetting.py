"""Whoever is forgotten leaves the memory as it would be without them, wherever the request stands in the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state.clicks.shard import ClickShard
from streams.events.forgetting import ForgetRequest
from streams.events.impressions import Feedback, Impression
from streams.settings import LearningSettings
from tests.unit.test_click_ledger import AT, NOON, STAMP, feedback, impression

GONE = "anna"
DOCUMENTS = "uvwxyz"
Step = Impression | Feedback | ForgetRequest
Memory = dict[str, tuple[int, dict[str, tuple[float, float]]]]

REQUEST = ForgetRequest.model_validate({"request_id": "r", "people": [GONE]})


@dataclass(frozen=True)
class Visit:
    """A query, perhaps said again in other words, and what was done with the answers."""

    person: str
    query: str
    again: str | None
    shown: Sequence[str]
    clicks: Sequence[tuple[int, bool, str]]

    def steps(self, number: int) -> Iterator[Step]:
        first, second, session = f"q{number}", f"q{number}-again", f"s{number}"
        about = {"session_id": session, "user": self.person, "at": NOON + timedelta(seconds=number)}
        yield impression(first, self.query, *self.shown, unknown_words=_words(self.query), **about)
        if self.again is not None:
            words = _words(self.again)
            yield impression(
                second, self.again, *self.shown[::-1], unknown_words=words, previous_query_id=first, **about
            )
        for place, on_second, action in self.clicks:
            query_id = second if on_second and self.again is not None else first
            yield feedback(query_id, self.shown[place % len(self.shown)], action)


def _words(query: str) -> list[str]:
    """Equal vectors come from equal words."""
    return [f"word {query}"] if query in "ab" else []


visits = st.builds(
    Visit,
    person=st.sampled_from([GONE, "bert", "carl"]),
    query=st.sampled_from("abcd"),
    again=st.none() | st.sampled_from("abcd"),
    shown=st.lists(st.sampled_from(DOCUMENTS), min_size=1, max_size=4, unique=True),
    clicks=st.lists(
        st.tuples(st.integers(0, 3), st.booleans(), st.sampled_from(["click", "click", "hide"])), max_size=4
    ),
)


def learned_from(steps: Sequence[Step], batches: Sequence[int]) -> tuple[Memory, str, list[float]]:
    """What is remembered by key, all rows as one text, and the sum of the vectors."""
    with opened() as shard:
        ledger = shard.ledger()
        for step, ends in zip(steps, batches, strict=True):
            if isinstance(step, Impression):
                ledger.shown(step.query_id, step)
            elif isinstance(step, Feedback):
                ledger.given(step.query_id, step, AT)
            else:
                ledger.forget(step, at=AT, until=AT + 10_000)
            if ends:
                shard.write(ledger, applied={})
                ledger = shard.ledger()
        shard.write(ledger, applied={})
        ledger = shard.ledger()
        ledger.state.newest = AT + 4_000  # what waits for impressions of somebody who is gone waits in vain
        ledger.expire()
        shard.write(ledger, applied={})
        columns = shard._columns
        rows = "\n".join(
            f"{key!r} {value!r}"
            for name in ("impressions", "order", "early", "memory", "caps", "forgotten")
            for key, value in columns.items(name)
        )
        memory = {
            key: (known.queries, {name: tuple(counts) for name, counts in known.documents.items()})
            for key, known in shard.remembered()
        }
        return memory, rows, shard.ledger().sum().tolist()


@contextmanager
def opened() -> Iterator[ClickShard]:
    with TemporaryDirectory() as folder:
        shard = ClickShard(Path(folder) / "s", LearningSettings(), cluster="c", stamp=STAMP)
        try:
            yield shard
        finally:
            shard.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(visits, min_size=1, max_size=8), st.randoms(use_true_random=False), st.data())
def test_the_memory_is_that_of_the_others(the_visits: list[Visit], order, data: st.DataObject) -> None:
    # Somebody else clicks first: from when on clicks are expected is nobody's secret, and stays.
    begins = Visit("bert", "d", None, "z", [(0, False, "click")])
    events = [
        (visit.person, step) for n, visit in enumerate([begins, *the_visits]) for step in visit.steps(n)
    ]
    first, rest = events[:2], events[2:]
    order.shuffle(rest)
    others = [step for person, step in [*first, *rest] if person != GONE]
    steps: list[Step] = [step for _, step in [*first, *rest]]
    steps.insert(data.draw(st.integers(0, len(steps)), label="place of the request"), REQUEST)

    ends = data.draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)), label="batches")
    memory, rows, vectors = learned_from(steps, ends)
    expected, _, expected_vectors = learned_from(others, [True] * len(others))

    assert memory.keys() == expected.keys()
    for key, (queries, documents) in expected.items():
        assert memory[key][0] == queries, key
        assert memory[key][1].keys() == documents.keys()
        for name, counts in documents.items():
            np.testing.assert_allclose(memory[key][1][name], counts, atol=1e-9)
    np.testing.assert_allclose(vectors, expected_vectors, atol=1e-5)
    assert GONE not in rows
    gone = [n for n, visit in enumerate([begins, *the_visits]) if visit.person == GONE]
    assert not any(f"q{n}{end}" in rows for n in gone for end in ("'", '"', "-"))
