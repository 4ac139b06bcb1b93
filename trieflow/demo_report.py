"""What the demo found, for people (tables, summary, contact sheet) and for programs (one JSON object)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.content_store import ContentStore
from streams.events.queries import Hit
from trieflow import render
from trieflow.contact_sheet import Cell, Row, Sheet
from trieflow.demo_acts import Change, Ids, OneByOne, Publishing
from trieflow.demo_harm import Nonsense
from trieflow.demo_learning import WORD, Lesson
from trieflow.demo_pictures import CREDIT
from trieflow.demo_questions import TOP, Answer, NameTest

Say = Callable[[str], None]

_SHOWN_HITS = 3


@dataclass(frozen=True)
class Report:
    """All acts of one demo; times in milliseconds unless they say otherwise."""

    documents: int
    start_seconds: float
    publishing: Publishing
    one_by_one: OneByOne
    answers: Sequence[Answer]
    names: NameTest
    ids: Ids
    updated: Change
    deleted: Change
    lesson: Lesson | None
    nonsense: Nonsense | None

    @property
    def rate(self) -> float:
        """Pictures a second, from the first one sent to the last receipt."""
        return sum(self.publishing.counts.values()) / max(self.publishing.seconds, 1e-3)

    def to_json(self) -> dict[str, Any]:
        """The figures and every answer's rank and hits."""
        return {
            "documents": self.documents,
            "start_s": self.start_seconds,
            "publish": {
                "receipts": self.publishing.counts,
                "seconds": self.publishing.seconds,
                "drawing_seconds": self.publishing.drawing_seconds,
                "per_second": self.rate,
            },
            "event_to_receipt_ms": _quantiles(self.one_by_one.to_receipt_ms),
            "event_to_answer_ms": _quantiles(self.one_by_one.to_answer_ms),
            "query_ms": _quantiles(self.names.round_trips_ms),
            "names": {"asked": self.names.asked, f"in_first_{TOP}": self.names.found},
            "epoch": self.ids.after.epoch,
            "leaves": self.ids.leaves,
            "semantic_id": {
                "document_id": self.ids.document_id,
                "before": self.ids.before.semantic_id,
                "after": self.ids.after.semantic_id,
            },
            "answers": [_answer(each) for each in self.answers],
            "updated": _change(self.updated),
            "deleted": _change(self.deleted),
            "lesson": None if self.lesson is None else _lesson(self.lesson),
            "nonsense": None if self.nonsense is None else _nonsense(self.nonsense),
        }


def print_answers(answers: Sequence[Answer]) -> None:
    """A table: each question with the first hits, and where the expected one was."""
    columns = (
        "question",
        "expected one",
        "document",
        "semantic id",
        "score",
        "title",
        "searcher",
        "round trip",
    )
    render.table(columns, [row for answer in answers for row in _answer_rows(answer)])


def print_change(say: Say, done: str, change: Change) -> None:
    """One line: what was done to a document, and where it stood before and after."""
    before, after = (verdict(answer) for answer in (change.before, change.after))
    asked = change.before.question
    say(f"{done} {change.document_id} ({change.receipt.status}). Asked {asked.words or asked.about}:")
    say(f"  before: {before}; after (read_after its receipt): {after}")


def print_lesson(say: Say, lesson: Lesson) -> None:
    """What was asked and clicked, with the events, and where the document stood before and after."""
    say(f"\nTaught it “{WORD}”, a word that stands nowhere. {len(lesson.clicks)} people asked for it,")
    say(f"found nothing, asked for “{lesson.other_words}” and clicked {lesson.document_id}:")
    for address in lesson.clicks:
        say(f"  feedback in {address}")
    learned = f"{lesson.seconds:.2f} s after the last click"
    say(f"  “{WORD}” before: {verdict(lesson.before)}; {learned}: {verdict(lesson.after)}")


def print_nonsense(say: Say, nonsense: Nonsense) -> None:
    """What people clicked, what the gates said of the adapter, and whether anything has changed."""
    last, adapter = nonsense.last, nonsense.adapter
    took = f"{nonsense.clicks:,} clicks in {nonsense.click_seconds:.0f} s, "
    if adapter is None:
        say(f"  {took}and the training failed: {last.message}")
    else:
        say(f"  {took}an adapter trained and judged in {nonsense.train_seconds:.0f} s: {last.verdict}")
        say(f"  {last.message}")
        say(f"  its report: {adapter.report}")
        if last.verdict != "refused":
            say(f"  The gates let it pass, so a canary tries it: trieflow models show {adapter.version}")
    serves = ", ".join(nonsense.adapters) or "no adapter"
    say(f"  The people and {nonsense.forgotten:,} clicks are forgotten.")
    say(f"  {nonsense.same} of {len(nonsense.after)} questions have the hits of before the first click,")
    say(f"  and {serves} took part in the answers.")


def print_summary(say: Say, report: Report) -> None:
    """The figures."""
    counts = ", ".join(f"{count:,} {status}" for status, count in report.publishing.counts.most_common())
    say(f"documents         {report.documents:,} ({counts})")
    say(
        f"published         {report.rate:.0f} pictures/s, receipts included "
        f"({report.publishing.seconds:.1f} s, {report.publishing.drawing_seconds:.1f} s of it drawing SVG)"
    )
    say(f"event → receipt   {_spread(report.one_by_one.to_receipt_ms)}, one at a time")
    say(f"event → answer    {_spread(report.one_by_one.to_answer_ms)}, with the answer's own time")
    say(f"query             {_spread(report.names.round_trips_ms)}, round trip of a text, one at a time")
    for kind, asked in sorted(report.names.asked.items()):
        say(f"found by name     {report.names.found[kind]} of {asked} in the first {TOP}: {kind}")
    say(f"ids               {_id_line(report.ids)}")


def verdict(answer: Answer) -> str:
    """Where the expected document stands."""
    where = f"not in the first {TOP}" if answer.rank is None else f"at {answer.rank}"
    if answer.question.unwanted:
        where += f", {answer.unwanted_count} unwanted"
    return where


def sheet_of(answers: Sequence[Answer], *, store: ContentStore, subtitle: str) -> Sheet:
    """The contact sheet of the answers; thumbnails are those of the content store."""
    return Sheet("trieflow: asked and answered", subtitle, [_row(each, store) for each in answers], CREDIT)


def _row(answer: Answer, store: ContentStore) -> Row:
    question = answer.question
    return Row(
        words=question.words,
        about=question.about,
        verdict=f"expected one {verdict(answer)}",
        met=answer.rank is not None,
        drawing=question.drawing,
        cells=[
            Cell(
                picture=None if hit.image is None else store.get(hit.image),
                caption=_shows(hit),
                score=hit.score,
                semantic_id=hit.semantic_id,
                wanted=hit.document_id in question.expected,
            )
            for hit in answer.result.hits or []
        ],
    )


def _answer_rows(answer: Answer) -> Iterator[list[object]]:
    question, total = answer.question, (answer.result.took_ms or {}).get("total", 0.0)
    first = [f"{question.words} {question.about}".strip(), verdict(answer)]
    times = [f"{total:.1f} ms", f"{answer.round_trip_ms:.1f} ms"]
    for position, hit in enumerate((answer.result.hits or [])[:_SHOWN_HITS]):
        found: list[object] = [hit.document_id, hit.semantic_id, f"{hit.score:.2f}", hit.title or ""]
        yield [*first, *found, *times] if position == 0 else ["", "", *found, "", ""]


def _shows(hit: Hit) -> str:
    shows = (hit.fields or {}).get("shows")
    return str(shows) if shows is not None else hit.title or hit.document_id


def _id_line(ids: Ids) -> str:
    now = f"{ids.after.semantic_id} in epoch {ids.after.epoch}"
    if not ids.leaves:
        return f"{ids.document_id} is {now}; a tree of meanings is fitted when there are enough documents"
    return (
        f"{ids.document_id} was {ids.before.semantic_id} in epoch {ids.before.epoch}, is {now}: "
        f"a tree of {ids.leaves} leaves"
    )


def _spread(milliseconds: Sequence[float]) -> str:
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms ({len(milliseconds)})"


def _quantiles(milliseconds: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "count": len(milliseconds)}


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "about": answer.question.about,
        "words": answer.question.words,
        "rank": answer.rank,
        "unwanted": answer.unwanted_count,
        "mode": answer.result.mode,
        "round_trip_ms": round(answer.round_trip_ms, 3),
        "took_ms": answer.result.took_ms,
        "hits": [
            {"document_id": hit.document_id, "semantic_id": hit.semantic_id, "score": hit.score}
            for hit in answer.result.hits or []
        ],
    }


def _lesson(lesson: Lesson) -> dict[str, Any]:
    return {
        "word": WORD,
        "document_id": lesson.document_id,
        "clicks": len(lesson.clicks),
        "rank_before": lesson.before.rank,
        "rank_after": lesson.after.rank,
        "seconds": lesson.seconds,
    }


def _nonsense(nonsense: Nonsense) -> dict[str, Any]:
    adapter = nonsense.adapter
    return {
        "clicks": nonsense.clicks,
        "click_seconds": nonsense.click_seconds,
        "train_seconds": nonsense.train_seconds,
        "stage": nonsense.last.stage,
        "verdict": nonsense.last.verdict,
        "message": nonsense.last.message,
        "version": nonsense.last.version,
        "report": None if adapter is None else adapter.report,
        "figures": {} if adapter is None else adapter.figures,
        "forgotten": nonsense.forgotten,
        "asked_again": len(nonsense.after),
        "same_hits": nonsense.same,
        "adapters": nonsense.adapters,
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "document_id": change.document_id,
        "status": change.receipt.status,
        "rank_before": change.before.rank,
        "rank_after": change.after.rank,
    }
