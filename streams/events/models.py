"""`models`: bundles of what is learned about queries, and which one serves."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from streams.events.base import Event

QUERY_MODEL = "query"
"""The name of the one model there is: what is learned for the side of the queries."""


def bundle_key(name: str, version: str) -> str:
    """The key of a bundle's record in `models`."""
    return f"{name}@{version}"


class ModelBundle(Event):
    """A bundle that may serve: where it is kept and what it belongs to. Key: `<name>@<version>`."""

    name: str
    """The model."""
    version: str
    """Its version; a version is never written over."""
    uri: str
    """URL of the bundle's folder in the content store."""
    encoder_stamp: str
    """The encoder whose query vectors it reads; a searcher with another one refuses it."""
    codebook_epoch: int | None = None
    """The epoch that its decoder knows; in another epoch geometry serves alone."""
    parent: str | None = None
    """`<name>@<version>` of the bundle that it was made from."""
    figures: dict[str, float] = Field(default_factory=dict)
    """What was measured when it was made."""


class ActiveModel(Event):
    """Which bundle serves. Key: `<name>`."""

    active: str
    """The version."""
    since: datetime
    """When it was decided."""
