"""Examples of each event as it stands on the wire. They go into the schemas; a test holds them to be valid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streams.events.assignments import Assignment, EpochComplete
from streams.events.bad_cases import BadCase
from streams.events.base import Event
from streams.events.click_memory import MemorySummary, RememberedClicks
from streams.events.codebooks import ActiveEpoch, CodebookEpoch, LeafState, Move, RollBack, TreePart
from streams.events.documents import Document, Receipt
from streams.events.forgetting import ForgetReceipt, ForgetRequest, UserSalt
from streams.events.impressions import Feedback, Impression
from streams.events.models import ActiveModel, AdapterRollout, ModelBundle, RolloutRequest
from streams.events.profiles import Profile
from streams.events.queries import Query, Result
from streams.events.training import TrainingProgress, TrainingRequest
from streams.headers import DELETED, TYPES

Example = dict[str, Any]

# One red pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
_STAMP = "lite@1/f32"
_QUERY_ID = "0d6f2c1e-8a55-4b0e-9a43-6f5f0f6f3a11"
_PERSON = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
_LOG = [{"partition": 3, "offset": 1207}]
_DOCUMENTS = {"topic": "trieflow.documents", "partition": 3, "offset": 941}
_VECTOR = {"stamp": _STAMP, "kind": "fused", "dtype": "f16", "data": "ri97rPY0"}

_BOOTS: Example = {
    "title": "Red leather boots",
    "text": "Ankle boots with a flat heel.",
    "language": "en",
    "images": [{"url": "https://shop.example/boots.jpg", "alt": "two red boots"}],
    "tags": ["shoes"],
    "fields": {"price": 129.5, "sizes": [38, 39, 40], "in_stock": True},
    "published_at": "2026-01-31T12:00:00Z",
    "version": 7,
}
_SHORT_QUERY: Example = {"text": "rote Stiefel"}

EXAMPLES: Mapping[type[Event], Sequence[Example]] = {
    Document: [
        {"title": "Red leather boots"},
        _BOOTS,
        {"images": [{"bytes": PNG}]},
        {"title": "Ready vector", "vectors": [{"stamp": _STAMP, "values": [0.12, -0.07, 0.31]}]},
    ],
    Receipt: [
        {
            "document_id": "boot-1",
            "status": "indexed",
            "semantic_id": "3.17.402.8",
            "epoch": 1,
            "read_after": _LOG,
            "source": _DOCUMENTS,
            "took_ms": 12.4,
        },
        {
            "document_id": "boot-2",
            "status": "rejected",
            "source": _DOCUMENTS,
            "error": {"code": "not_json", "message": "the body is not JSON: unexpected end of data"},
            "took_ms": 0.2,
        },
    ],
    Query: [
        _SHORT_QUERY,
        {
            "parts": [
                {"image": {"bytes": PNG}},
                {"text": "with laces", "weight": 0.5},
                {"text": "red", "weight": -0.5},
            ],
            "filter": {"and": [{"price": {"lte": 150}}, {"tags": "shoes"}]},
            "top_k": 5,
            "read_after": _LOG,
            "explain": True,
        },
        {"document_id": "boot-1", "mode": "dense"},
        {
            "parts": [
                {"text": "boots", "role": "or"},
                {"text": "sandals", "role": "or"},
                {"text": "leather", "role": "not"},
                {"document_id": "boot-1"},
            ],
            "filter": {"id_prefix": "3.17"},
        },
        {"browse": {"prefix": "3", "depth": 2, "examples": 1}},
    ],
    Result: [
        {
            "query_id": _QUERY_ID,
            "hits": [
                {
                    "document_id": "boot-1",
                    "semantic_id": "3.17.402.8",
                    "score": 2.81,
                    "position": 1,
                    "parts": {"dense": 2.81},
                    "title": "Red leather boots",
                    "fields": {"price": 129.5},
                    "tags": ["shoes"],
                    "image": "file:///srv/trieflow/content/thumbnails/5f0c.webp",
                }
            ],
            "mode": "dense",
            "model_version": _STAMP,
            "epoch": 1,
            "codebook_offset": 4,
            "fresh_to": _LOG,
            "newest_document_age_ms": 840.0,
            "took_ms": {"encode": 6.1, "dense": 0.9, "fuse": 0.1, "total": 7.3},
        },
        {
            "query_id": _QUERY_ID,
            "branches": [
                {
                    "prefix": "3.17",
                    "documents": 812,
                    "children": 13,
                    "examples": [{"document_id": "boot-1", "title": "Red leather boots"}],
                }
            ],
            "epoch": 1,
            "codebook_offset": 4,
            "fresh_to": _LOG,
        },
        {
            "query_id": _QUERY_ID,
            "error": {
                "code": "expired",
                "message": "the deadline passed before the query was read; send it again",
            },
        },
    ],
    Assignment: [
        {
            "ids": [{"epoch": 1, "semantic_id": "3.17.402.8"}],
            "retired": [],
            "modality": "text",
            "vectors": [_VECTOR],
            "fields": {"price": 129.5},
            "tags": ["shoes"],
            "title": "Red leather boots",
            "version": 7,
            "content_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "codebook_offset": 4,
            "source": _DOCUMENTS,
        }
    ],
    EpochComplete: [{"epoch": 2, "partition": 3, "documents": 1208}],
    CodebookEpoch: [
        {
            "epoch": 1,
            "stamp": _STAMP,
            "uri": "file:///srv/trieflow/content/codebooks/9f86d081884c7d65.safetensors",
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "fitted_on": 1024,
            "leaves": 32,
            "reason": "first",
            "parts": 1,
        }
    ],
    TreePart: [{"data": "aAAAAAAAAAB7Il9fbWV0YWRhdGFfXyI6e30="}],
    ActiveEpoch: [{"epoch": 1, "switch_at": _LOG}],
    LeafState: [{"centroid": "ri97rPY0", "parent": "3.17", "size_at": 64, "born_from": "3.17.400"}],
    RollBack: [{"from_epoch": 3, "to_epoch": 2}],
    ModelBundle: [
        {
            "name": "query",
            "version": "epoch-2",
            "uri": "file:///srv/trieflow/content/bundles/query@epoch-2",
            "encoder_stamp": _STAMP,
            "codebook_epoch": 2,
            "figures": {"weight": 0.01},
        }
    ],
    ActiveModel: [{"active": "epoch-2", "since": "2026-01-31T12:00:00Z"}],
    AdapterRollout: [
        {
            "active": "3f9a2c10",
            "candidate": "b81e77d4",
            "share": 0.05,
            "interleaved": True,
            "since": "2026-01-31T12:00:00Z",
            "reason": "accepted by the gates",
        }
    ],
    RolloutRequest: [{"action": "promote", "version": "b81e77d4", "at": "2026-01-31T12:00:00Z"}],
    TrainingRequest: [
        {
            "kind": "request",
            "run": "clicks-4000",
            "reason": "clicks",
            "window": [
                {"topic": "impressions", "partition": 0, "start": 0, "end": 5210},
                {"topic": "feedback", "partition": 0, "start": 0, "end": 590},
                {"topic": "assignments", "partition": 0, "start": 0, "end": 1204},
            ],
            "at": "2026-01-31T12:00:00Z",
        }
    ],
    TrainingProgress: [
        {
            "kind": "progress",
            "run": "clicks-4000",
            "stage": "training",
            "done": 0.4,
            "seconds_left": 3.1,
            "at": "2026-01-31T12:00:00Z",
        },
        {
            "kind": "progress",
            "run": "clicks-4000",
            "stage": "done",
            "done": 1.0,
            "version": "b81e77d4",
            "verdict": "accepted",
            "message": "Accepted: it goes to the canary, and clicks speak for it.",
            "at": "2026-01-31T12:00:00Z",
        },
    ],
    Move: [
        {
            "document_id": "boot-1",
            "from_id": "3.17.402.8",
            "to_leaf": "3.17.403",
            "epoch": 1,
            "codebook_offset": 9,
        }
    ],
    Impression: [
        {
            "query_id": _QUERY_ID,
            "user": _PERSON,
            "parts": [{"kind": "text", "weight": 1.0}],
            "query_vector": _VECTOR,
            "shown": [{"document_id": "boot-1", "position": 1, "score": 2.81, "propensity": 1.0}],
            "shuffled": False,
            "random_pairs": [],
            "history": ["sandal-7"],
            "unknown_words": [],
            "models": [_STAMP],
            "arm": "active",
            "epoch": 1,
            "fresh_to": _LOG,
            "codebook_offset": 4,
            "memory_offset": -1,
            "at": "2026-01-31T12:00:01.250000Z",
        }
    ],
    Feedback: [
        {"query_id": _QUERY_ID, "document_id": "boot-1", "action": "click", "dwell_ms": 4200},
        {
            "query_id": _QUERY_ID,
            "object_id": "boot-1",
            "action_name": "click",
            "client_id": "visitor-5",
            "timestamp": "2026-01-31T12:00:05Z",
        },
    ],
    RememberedClicks: [
        {"vector": _VECTOR, "queries": 1, "documents": {"boot-1": [3.0, 4.5], "boot-2": [0.0, 1.5]}},
        {"queries": 2, "documents": {"boot-1": [1.5, 2.0]}},
    ],
    BadCase: [
        {
            "kind": "no_click_rephrased",
            "at": "2026-01-31T12:00:01.250000Z",
            "query_id": _QUERY_ID,
            "query": "query/2c26b46b68ffc68ff99b453c1d304134",
            "mode": "dense",
            "shown": ["boot-1", "boot-2"],
            "rephrased_by": "6f9a1c52-3f7e-4f0b-9a55-0f6f0c1d2e3b",
            "clicked": ["sandal-7"],
            "withdrawn": False,
        },
        {
            "kind": "title_picture_mismatch",
            "at": "2026-01-31T12:00:01Z",
            "shown": [],
            "clicked": [],
            "document_id": "boot-1",
            "title": "Red leather boots",
            "agreement": -0.12,
            "withdrawn": False,
        },
    ],
    MemorySummary: [
        {"queries": 812, "centre": _VECTOR, "examination": [1.0, 0.5, 0.3333], "exponent": 1.0},
    ],
    Profile: [
        {
            "documents": [
                {"document_id": "sandal-7", "at": "2026-01-31T11:58:12Z"},
                {"document_id": "boot-2", "at": "2026-01-29T08:15:00Z"},
            ]
        }
    ],
    UserSalt: [{"salt": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"}],
    ForgetRequest: [
        {"request_id": _QUERY_ID, "people": [_PERSON]},
        {"request_id": _QUERY_ID, "document_id": "boot-1"},
    ],
    ForgetReceipt: [
        {
            "request_id": _QUERY_ID,
            "impressions": 17,
            "clicks": 4,
            "changed": 9,
            "removed": 6,
            "at": "2026-01-31T12:00:01.250000Z",
        }
    ],
}

_ENVELOPE: Example = {
    "specversion": "1.0",
    "id": "7c1b",
    "source": "/shop",
    "time": "2026-01-31T12:00:00Z",
    "datacontenttype": "application/json",
}
DOCUMENT_EVENT: Example = {**_ENVELOPE, "type": TYPES["documents"], "data": {"title": "Red leather boots"}}
DELETE_EVENT: Example = {**_ENVELOPE, "type": DELETED, "data": None}
QUERY_EVENT: Example = {**_ENVELOPE, "type": TYPES["queries"], "data": _SHORT_QUERY}
