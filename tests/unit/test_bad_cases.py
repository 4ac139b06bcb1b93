"""Bad cases of queries: told once more is known, in any order of events, and never twice in the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from state.clicks.ledger import Ledger
from state.clicks.shard import ClickShard
from streams.events.assignments import StampedVector
from streams.events.bad_cases import BadCase
from streams.events.impressions import Feedback, Impression, ImpressionPart, ShownDocument
from streams.headers import cloud_event, subject_id
from streams.records import Record
from streams.settings import LearningSettings
from trieflow.bad_case_page import to_html, write_page
from trieflow.bad_cases import latest, report_of

STAMP = "hash@1/64"
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
Event = tuple[str, Impression | Feedback]


def shown(
    query_id: str,
    *documents: str,
    session: str | None = "s-1",
    previous: str | None = None,
    text: str | None = None,
    low: bool | None = None,
) -> Event:
    vector = np.zeros(4, dtype=np.float32)
    vector[len(query_id) % 4] = 1
    impression = Impression(
        query_id=query_id,
        session_id=session,
        previous_query_id=previous,
        parts=[ImpressionPart(kind="text", text=text, weight=1.0)],
        query_vector=StampedVector.of(STAMP, "fused", vector),
        shown=[
            ShownDocument(document_id=name, position=place, score=1.0, propensity=1 / place)
            for place, name in enumerate(documents, start=1)
        ],
        models=[STAMP],
        low_confidence=low,
        epoch=0,
        fresh_to=[],
        at=NOW,
    )
    return query_id, impression


def clicked(query_id: str, document_id: str) -> Event:
    return query_id, Feedback(query_id=query_id, document_id=document_id, action="click")


def take(ledger: Ledger, events: Iterable[Event]) -> None:
    for query_id, event in events:
        if isinstance(event, Impression):
            ledger.shown(query_id, event)
        else:
            ledger.given(query_id, event, NOW.timestamp() + 1)


def told(folder: Path, batches: Iterable[Sequence[Event]], **settings: int) -> dict[str, BadCase]:
    """What the batches say in the end."""
    shard = ClickShard(folder, LearningSettings(**settings), cluster="c", stamp=STAMP)
    found: dict[str, BadCase] = {}
    for batch in batches:
        ledger = shard.ledger()
        take(ledger, batch)
        ledger.tidy()
        found |= ledger.bad_cases.told
        shard.write(ledger, applied={})
    shard.close()
    return found


FIRST, SECOND = shown("first", "a", "b"), shown("second", "c", "d", previous="first")


@pytest.mark.parametrize("order", list(permutations([FIRST, SECOND, clicked("second", "d")])))
def test_in_any_order_the_case_says_what_was_clicked_instead(tmp_path: Path, order: Sequence[Event]) -> None:
    (case,) = told(tmp_path / "shard", [[event] for event in order]).values()
    assert (case.kind, case.query_id, case.rephrased_by) == ("no_click_rephrased", "first", "second")
    assert (case.shown, case.clicked, case.withdrawn) == (["a", "b"], ["d"], False)


def test_one_batch_says_the_same_as_several_and_a_repeated_one_the_same_again(tmp_path: Path) -> None:
    events = [FIRST, SECOND, clicked("second", "c")]
    one = told(tmp_path / "one", [events])
    assert told(tmp_path / "several", [[event] for event in events]) == one
    assert list(one) == [subject_id("no_click_rephrased", "first")]
    assert told(tmp_path / "again", [events, events]) == one


def test_a_click_that_comes_late_withdraws_the_case(tmp_path: Path) -> None:
    (case,) = told(tmp_path / "shard", [[FIRST, SECOND], [clicked("first", "b")]]).values()
    assert case.withdrawn


def test_an_answer_that_was_clicked_is_no_case(tmp_path: Path) -> None:
    assert told(tmp_path / "shard", [[FIRST, clicked("first", "a"), SECOND, clicked("second", "c")]]) == {}


@pytest.mark.parametrize("session", ["s-2", None])
def test_another_session_says_nothing_of_it(tmp_path: Path, session: str | None) -> None:
    other = shown("second", "c", previous="first", session=session)
    assert told(tmp_path / "shard", [[FIRST, other]]) == {}


def test_no_hits_and_low_confidence_are_cases_without_a_session_too(tmp_path: Path) -> None:
    events = [shown("empty", session=None), shown("unsure", "a", session=None, low=True), shown("fine", "a")]
    found = told(tmp_path / "shard", [events])
    assert {(case.kind, case.query_id) for case in found.values()} == {
        ("no_hits", "empty"),
        ("low_confidence", "unsure"),
    }


def test_words_are_in_a_case_only_where_the_impression_has_them(tmp_path: Path) -> None:
    with_text = [
        shown("first", "a", text="purple newt"),
        shown("second", "b", previous="first", text="salamander"),
    ]
    (case,) = told(tmp_path / "with", [with_text]).values()
    assert (case.text, case.rephrased_text) == ("purple newt", "salamander")
    (case,) = told(tmp_path / "without", [[FIRST, SECOND]]).values()
    assert (case.text, case.rephrased_text) == (None, None)


def test_what_is_kept_of_an_answer_goes_with_its_impression(tmp_path: Path) -> None:
    waiting = shown("waiting", "x", previous="never comes")
    others = [shown(f"query {number}", "a") for number in range(5)]
    told(tmp_path / "shard", [[FIRST, SECOND, waiting], others], impressions=2)
    shard = ClickShard(tmp_path / "shard", LearningSettings(), cluster="c", stamp=STAMP)
    assert [key for key, _ in shard._columns.items("cases")] == [b"query 3", b"query 4"]
    shard.close()


# -- the report --------------------------------------------------------------------------------------------


def query_case(query_id: str, *, at: datetime = NOW, **more: object) -> BadCase:
    given = {"kind": "no_click_rephrased", "at": at, "query_id": query_id, "query": "query/1"} | more
    return BadCase.model_validate(given)


def recorded(*cases: BadCase) -> list[Record]:
    return [
        Record(
            "bad-cases",
            0,
            offset,
            b"",
            case.to_json(),
            cloud_event(
                event_type="t",
                source="s",
                event_id=subject_id(case.kind, case.query_id or case.document_id or ""),
            ),
        )
        for offset, case in enumerate(cases)
    ]


def test_a_case_that_was_told_twice_counts_once_and_the_last_word_counts() -> None:
    cases = latest(
        recorded(
            query_case("a"),
            query_case("b"),
            query_case("a", clicked=["x"]),
            query_case("b", withdrawn=True),
        )
    )
    assert [(case.query_id, case.clicked) for case in cases] == [("a", ["x"])]


def test_equal_queries_are_one_line_with_what_was_clicked_instead() -> None:
    cases = [
        query_case("a", clicked=["x"], shown=["1", "2"]),
        query_case(
            "b", clicked=["x", "y"], at=NOW + timedelta(minutes=1), shown=["3"], rephrased_text="newt"
        ),
        query_case("c", query="query/2", kind="no_hits"),
        query_case("old", at=NOW - timedelta(days=9)),
    ]
    report = report_of(cases, since=NOW - timedelta(days=7), until=NOW + timedelta(days=1))
    assert report.counts == {"no_click_rephrased": 2, "no_hits": 1}
    first, second = report.queries
    assert (first.query_id, first.cases, first.shown, first.clicked) == ("b", 2, ["3"], {"x": 2, "y": 1})
    assert first.rephrased == ["newt"]
    assert (second.query_id, second.kinds) == ("c", {"no_hits": 1})


def test_documents_that_disagree_most_come_first() -> None:
    cases = [
        BadCase(kind="title_picture_mismatch", at=NOW, document_id=name, title=name, agreement=agreement)
        for name, agreement in (("a", -0.1), ("b", -0.4))
    ]
    report = report_of(cases, since=NOW, until=NOW)
    assert [document.document_id for document in report.documents] == ["b", "a"]
    assert report.queries == []


def test_the_page_escapes_what_came_from_outside_and_is_written_whole(tmp_path: Path) -> None:
    cases = [query_case("a", text="<script>alert(1)</script>", shown=["<img>"])]
    page = to_html(report := report_of(cases, since=NOW, until=NOW))
    assert "<script" not in page
    assert "<img>" not in page
    assert "&lt;script&gt;" in page
    write_page(report, tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
