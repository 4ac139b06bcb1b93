"""`bad-cases`: queries that went wrong and documents that contradict themselves, with the evidence."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from streams.events.base import Event
from streams.events.queries import SearchMode

BadCaseKind = Literal["no_click_rephrased", "no_hits", "low_confidence", "title_picture_mismatch"]


class BadCase(Event):
    """One bad case, as it is known by now. Key: the query id, or the document id.

    A later event with the same `ce_id` takes its place; events that come twice have the same `ce_id`.
    """

    kind: BadCaseKind
    """What is wrong."""
    at: datetime
    """When the query was answered, or the document indexed."""
    query_id: str | None = None
    """Of a query."""
    query: str | None = None
    """Equal for equal queries: a hash of the vector, as in the keys of `click-memory`."""
    text: str | None = None
    """Its words, only where the setting `privacy.log_query_text` allows it."""
    mode: SearchMode | None = None
    """The path that was taken."""
    shown: list[str] = Field(default_factory=list)
    """The first ten hits, by document id."""
    rephrased_by: str | None = None
    """The query that followed it in the same session, as its other wording."""
    rephrased_text: str | None = None
    """The words of that one, under the same rule."""
    clicked: list[str] = Field(default_factory=list)
    """What was clicked in the answer to that one."""
    document_id: str | None = None
    """Of a document."""
    title: str | None = None
    """As published."""
    agreement: float | None = None
    """Cosine of its text and its pictures, each less the mean of other documents; below 0 they point apart."""
    withdrawn: bool = False
    """No case any more: the answer was clicked after all, or the document was changed or deleted."""
