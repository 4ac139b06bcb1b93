"""`profiles`: what users chose lately, as searchers apply it. Each record is the full state of its key."""

from __future__ import annotations

from datetime import datetime

from streams.events.base import Event


class ChosenDocument(Event):
    """A document that a user clicked, saved or converted on."""

    document_id: str
    """The document."""
    at: datetime
    """When, the last time."""


class Profile(Event):
    """What one user chose lately. Key: the hash of the user, as in `user` of impressions.

    A null value: it is forgotten, or the user has chosen nothing for long.
    """

    documents: list[ChosenDocument]
    """The latest first, each document once."""
