"""`models`: bundles of what is learned about queries, and which ones serve."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from streams.events.base import Event

QUERY_MODEL = "query"
"""The model that is distilled from the documents for each tree of ids, and how paths are fused."""
ADAPTER_MODEL = "adapter"
"""The model that clicks teach: it moves the vectors of queries."""
ROLLOUT_REQUEST = "adapter/request"
"""The key of a request to the learner."""
Verdict = Literal["accepted", "canary_only", "refused"]


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
    verdict: Verdict | None = None
    """Of an adapter: what the gates said; `canary_only`: nothing speaks against it, too few clicks for it."""
    report: str | None = None
    """Of an adapter: URL of the report of the gates."""


class ActiveModel(Event):
    """Which bundle of `query` serves. Key: `query`."""

    active: str
    """The version."""
    since: datetime
    """When it was decided."""


class AdapterRollout(Event):
    """Which adapter serves whom. Key: `adapter`. Before there is one, queries are taken as they are encoded."""

    active: str | None = None
    """The version that serves; null: none."""
    candidate: str | None = None
    """The version that is tried out."""
    share: float = Field(default=0.0, ge=0, le=1)
    """Of the sessions, by their hash: those in which the candidate takes part."""
    interleaved: bool = False
    """Whether lists of both are interleaved in these sessions; else the candidate alone answers."""
    previous: str | None = None
    """The version that served before, to which a roll-back goes; null: queries as they are encoded."""
    given_up: list[str] = Field(default_factory=list)
    """Versions that were tried and taken back, the last ones: they are not tried again by themselves."""
    since: datetime
    """When it was decided."""
    reason: str = ""
    """Why."""


class RolloutRequest(Event):
    """What somebody wants of the rollout. Key: `adapter/request`; the learner carries it out and deletes it."""

    action: Literal["try", "promote", "roll_back"]
    """`try`: begin its canary; `promote`: let it serve everybody; `roll_back`: give up the candidate, else what
    serves."""
    version: str | None = None
    """Of the adapter to try or to promote."""
    at: datetime
    """When it was asked for."""
