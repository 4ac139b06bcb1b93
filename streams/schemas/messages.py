"""The messages of the AsyncAPI document: body, headers and key of each kind of record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streams.dead_letters import ATTEMPTS, ERROR_HEADER_PREFIX, STAGE, TRUNCATED
from streams.headers import CORRELATION_ID, DEADLINE, DELETED, REPLY_TO, STRUCTURED, TYPES
from streams.schemas.event_schemas import CLOUD_EVENT
from streams.schemas.examples import DELETE_EVENT, DOCUMENT_EVENT, QUERY_EVENT

Json = dict[str, Any]

BINDING = {"bindingVersion": "0.5.0"}
JSON = "application/json"
_JSON_SCHEMA = "application/schema+json;version=draft-2020-12"

_TRACE: Json = {
    CORRELATION_ID: "Repeated on every record that this one causes; up to 1,024 bytes.",
    "traceparent": "W3C trace context; repeated likewise.",
    "tracestate": "W3C trace context; repeated likewise.",
}
_CLOUD_EVENT: Json = {
    "ce_specversion": "`1.0`.",
    "ce_id": "Id of the event; what is made twice after a crash has the same.",
    "ce_source": "Who wrote it.",
    "ce_type": "What happened.",
    "ce_time": "When it was written, RFC 3339.",
    "content-type": f"`{JSON}`.",
}
_ERROR: Json = {
    "topic": "Full name of the topic that it came to.",
    "partition": "Partition that it came to.",
    "offset": "Its offset there.",
    "exception": "The error code.",
    "message": "For people.",
    "stacktrace": "Of the cause, where there is one.",
}


_DOCUMENT_ID = "The document id: UTF-8 text of 1 to 4,096 bytes that does not begin with U+0000."
_REQUEST_ID = "The request id: UTF-8 text of 1 to 4,096 bytes, best a UUID."
_QUERY_ID = "The query id: UTF-8 text of 1 to 4,096 bytes, best a UUID."


def messages() -> Json:
    """All messages by name."""
    return {
        "document": _read("document", TYPES["documents"], "A new or changed document.", _DOCUMENT_ID),
        "documentDeletion": _deletion(
            "Deletes a document: a null value, or any value with this `ce_type`.",
            _input_headers(DELETED, version="Ignored when lower than the stored one."),
        ),
        "documentCloudEvent": _structured([DOCUMENT_EVENT, DELETE_EVENT], _DOCUMENT_ID),
        "receipt": _written("receipt", TYPES["receipts"], "What became of one record.", _DOCUMENT_ID),
        "query": _read(
            "query",
            TYPES["queries"],
            "A search request.",
            _QUERY_ID,
            **{
                REPLY_TO: "Full name of the topic for the answer; without it the answer goes to `results`.",
                DEADLINE: "Milliseconds since the epoch, in digits; later the query fails with `expired`. "
                "Default: 5 seconds after the record's time.",
            },
        ),
        "queryCloudEvent": _structured([QUERY_EVENT], _QUERY_ID),
        "result": _written("result", TYPES["results"], "An answer or a failure.", _QUERY_ID),
        "impression": _written("impression", TYPES["impressions"], "What was shown.", _QUERY_ID),
        "feedback": _read("feedback", TYPES["feedback"], "What a person did with a hit.", _QUERY_ID),
        "rememberedClicks": _written(
            "remembered-clicks",
            TYPES["click-memory"],
            "Clicks for one query or one word.",
            "`query/<hash of the vector>` or `word/<keyed hash of the word>`.",
        ),
        "memorySummary": _written(
            "memory-summary", TYPES["click-memory"], "What holds for the whole memory.", "`summary`."
        ),
        "badCase": _written(
            "bad-case",
            TYPES["bad-cases"],
            "A query or a document that went wrong.",
            "Query id or document id.",
        ),
        "clickMemoryDeletion": _forgotten("The key is forgotten: a null value."),
        "profile": _written(
            "profile",
            TYPES["profiles"],
            "What one user chose lately.",
            "The hash of the user, as in impressions.",
        ),
        "profileDeletion": _forgotten("It is forgotten: a null value."),
        "userSalt": _written(
            "user-salt",
            TYPES["user-salts"],
            "The salt by which one user is hashed.",
            "`<keyed hash of the user id>/<id of the proposal>`; the first of a user counts.",
        ),
        "userSaltDeletion": _forgotten("The salt is destroyed: a null value."),
        "forgetRequest": _read(
            "forget-request", TYPES["forget"], "Asks to forget people or a document.", _REQUEST_ID
        ),
        "forgetReceipt": _written(
            "forget-receipt", TYPES["forgotten"], "What was forgotten for a request.", _REQUEST_ID
        ),
        "assignment": _written("assignment", TYPES["assignments"], "A document as indexed.", _DOCUMENT_ID),
        "assignmentDeletion": _deletion("The document is gone.", _tombstone_headers()),
        "epochComplete": _written(
            "epoch-complete",
            TYPES["assignments"],
            "Every document of the partition has an id in the epoch.",
            "U+0000, then `epoch_complete/<epoch>/<partition>`.",
        ),
        "codebookEpoch": _written("codebook-epoch", TYPES["codebooks"], "A fitted tree.", "`epoch/<n>`."),
        "treePart": _written(
            "tree-part", TYPES["codebooks"], "A part of a fitted tree.", "`epoch/<n>/tree/<i>`."
        ),
        "activeEpoch": _written("active-epoch", TYPES["codebooks"], "Which epoch serves.", "`active`."),
        "leafState": _written(
            "leaf-state", TYPES["codebooks"], "A changed leaf.", "`epoch/<n>/leaf/<c.s.k>`."
        ),
        "rollBack": _written(
            "roll-back", TYPES["codebooks"], "Asks to serve the epoch before again.", "`roll_back`."
        ),
        "modelBundle": _written(
            "model-bundle", TYPES["models"], "A bundle that may serve.", "`<name>@<version>`."
        ),
        "activeModel": _written(
            "active-model", TYPES["models"], "Which bundle of `query` serves.", "`query`."
        ),
        "adapterRollout": _written(
            "adapter-rollout", TYPES["models"], "Which adapter serves whom.", "`adapter`."
        ),
        "rolloutRequest": _written(
            "rollout-request", TYPES["models"], "What somebody wants of the rollout.", "`adapter/request`."
        ),
        "rolloutRequestDone": {
            "summary": "The request was carried out: a null value.",
            "headers": _object(_headers(_CLOUD_EVENT), [*_CLOUD_EVENT]),
            "payload": {"type": "null"},
            "bindings": _key("As above."),
        },
        "trainingRequest": _written(
            "training-request", TYPES["training"], "Asks for an adapter.", "The run."
        ),
        "trainingProgress": _written("training-progress", TYPES["training"], "How far a run is.", "The run."),
        "move": _read("move", TYPES["moves"], "Asks for an id in another leaf.", _DOCUMENT_ID),
        "deadLetter": _dead_letter(),
    }


def _read(schema: str, event_type: str, summary: str, key: str, **headers: str) -> Json:
    return _message(schema, summary, key, _input_headers(event_type, **headers))


def _written(schema: str, event_type: str, summary: str, key: str) -> Json:
    properties = _headers({**_CLOUD_EVENT, **_TRACE}, event_type)
    return _message(schema, summary, key, _object(properties, required=[*_CLOUD_EVENT]))


def _message(schema: str, summary: str, key: str, headers: Json) -> Json:
    return {
        "contentType": JSON,
        "summary": summary,
        "headers": headers,
        "correlationId": {"$ref": "#/components/correlationIds/correlationId"},
        "payload": {"schemaFormat": _JSON_SCHEMA, "schema": {"$ref": f"./{schema}.json"}},
        "bindings": _key(key),
    }


def _structured(examples: Sequence[Json], key: str) -> Json:
    headers = _headers(_TRACE)
    headers["content-type"] = {"type": "string", "pattern": f"^{STRUCTURED.replace('+', '[+]')}"}
    message = _message(CLOUD_EVENT, "The same, in structured mode.", key, _object(headers, ["content-type"]))
    return {**message, "contentType": STRUCTURED, "examples": [{"payload": each} for each in examples]}


def _deletion(summary: str, headers: Json) -> Json:
    return {
        "summary": summary,
        "headers": headers,
        "payload": {"type": "null"},
        "bindings": _key(_DOCUMENT_ID),
    }


def _forgotten(summary: str) -> Json:
    return {
        "summary": summary,
        "headers": _object(_headers(_CLOUD_EVENT), [*_CLOUD_EVENT]),
        "payload": {"type": "null"},
        "bindings": _key("As above."),
    }


def _dead_letter() -> Json:
    facts = {ERROR_HEADER_PREFIX + name: text for name, text in _ERROR.items()}
    facts[ATTEMPTS] = "How often it was tried, in digits."
    facts[STAGE] = "Where it failed: `decode`, `fetch`, `encode`, `assign` or `answer`."
    required = [*facts]
    facts[TRUNCATED] = "Size of the value in bytes, where only the beginnings of it were kept (over 4.5 MiB)."
    return {
        "contentType": "application/octet-stream",
        "summary": "Key, value and headers as they came, and these headers (names of KIP-1034) beside them.",
        "headers": _object(_headers(facts), required),
        "payload": {},
        "bindings": _key("As it came."),
    }


def _input_headers(event_type: str, **more: str) -> Json:
    about = {**_CLOUD_EVENT, **_TRACE, **more}
    return _object(_headers(about, event_type), [])


def _tombstone_headers() -> Json:
    ids = "JSON list of [epoch, semantic id]"
    about = {
        "ids": f"{ids} that the document had.",
        "retired": f"{ids} that it gave up before.",
        "semantic_id": "Its id in the active epoch.",
        "version": "Its last version, in digits.",
        "source": "JSON: the record of `documents` that deleted it.",
    }
    properties = _headers({**_CLOUD_EVENT, **_TRACE, **about}, DELETED)
    return _object(properties, [*_CLOUD_EVENT, "ids", "retired", "source"])


def _headers(about: Mapping[str, str], event_type: str | None = None) -> Json:
    """Kafka's header values are bytes; all of ours are UTF-8 text."""
    headers: Json = {name: {"type": "string", "description": text} for name, text in about.items()}
    if event_type is not None:
        headers["ce_specversion"]["const"] = "1.0"
        headers["ce_type"]["const"] = event_type
    return headers


def _object(properties: Json, required: Sequence[str]) -> Json:
    return {"type": "object", "properties": properties, **({"required": [*required]} if required else {})}


def _key(description: str) -> Json:
    return {"kafka": {"key": {"type": "string", "description": description}, **BINDING}}
