"""`user-salts` (what links hashes to users), `forget` (what is to be forgotten) and `forgotten` (its receipts)."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import Field, model_validator

from streams.events.base import Event, Whole


class UserSalt(Event):
    """The salt by which one user is hashed. Key: `<keyed hash of the user id>/<id of this proposal>`.

    Of several for one user the one that stands first counts: each has a key of its own, so that compaction drops
    none of them. A null value destroys it.
    """

    salt: str = Field(min_length=64, max_length=64)
    """32 random bytes, as hexadecimal digits."""


class ForgetRequest(Event):
    """Asks to forget people, or a document. Key: the request id."""

    request_id: str = Field(min_length=1, max_length=1024)
    """The name of this request."""
    people: list[str] = Field(default_factory=list, max_length=1024)
    """Keyed hashes, as in `user` of impressions."""
    document_id: str | None = Field(default=None, min_length=1, max_length=4096)
    """A document, as far as it was shown before this request."""

    @model_validator(mode="after")
    def _asks_for_one_thing(self) -> Self:
        if bool(self.people) == (self.document_id is not None):
            raise ValueError("name people or a document_id, one of them")
        return self


class ForgetReceipt(Event):
    """What became of a request. Key: the request id."""

    request_id: str
    """The request."""
    impressions: Whole
    """Impressions that were dropped, or of a document: in which it stands no more."""
    clicks: Whole
    """Clicks that were taken back."""
    changed: Whole
    """Queries and words whose sums have changed."""
    removed: Whole
    """Queries and words that are remembered no more."""
    at: datetime
    """When it was done."""
