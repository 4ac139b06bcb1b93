"""One AsyncAPI 3.0 document: topics, keys, headers, messages, and what the application does with them.

https://www.asyncapi.com/docs/reference/specification/v3.0.0, with the Kafka bindings 0.5.0. Operations are
told from the application's side: it receives documents and queries, and sends receipts and results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streams.headers import CORRELATION_ID, REPLY_TO
from streams.partitioner import PARTITIONER
from streams.schemas.messages import BINDING, JSON, messages
from streams.settings import Settings
from streams.topics import DLQ, TopicSpec, topic_specs

Json = dict[str, Any]

CONTRACT_VERSION = "1.0.0"

_ABOUT = f"""\
Publish documents, search them and read what became of them, all through Kafka. A key and a JSON value are \
enough; every header is optional on input.

- Set the partitioner to murmur2 of the key: it is the default of the Java client, and \
`partitioner: {PARTITIONER}` in librdkafka. A document in another partition is rejected with `wrong_partition`.
- Read `receipts` and `assignments` with `isolation.level: read_committed`.
- Unknown fields are ignored on reading. New fields, codes and headers may come; that changes no version.
- Bodies have at most 4 MiB and 32 levels of nesting. Any of Kafka's compression codecs will do.
- `trieflow.` at the start of all names is the default of a setting.
- The schemas are files beside this one (JSON Schema draft 2020-12)."""


def asyncapi_document() -> Json:
    """The document. Partition counts and retention are the defaults of the settings."""
    settings = Settings.model_construct()  # neither environment nor file
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "trieflow",
            "version": CONTRACT_VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON,
        "servers": {"kafka": _server()},
        "channels": _channels(settings),
        "operations": _OPERATIONS,
        "components": {
            "messages": messages(),
            "correlationIds": {
                "correlationId": {
                    "description": "What the asker put there; without it, the key (the query id) tells.",
                    "location": f"$message.header#/{CORRELATION_ID}",
                }
            },
        },
    }


def _server() -> Json:
    return {
        "host": "{brokers}",
        "protocol": "kafka",
        "description": "Any Kafka; `trieflow up` starts one and prints where.",
        "variables": {"brokers": {"default": "localhost:9092", "description": "host:port"}},
    }


# -- channels ----------------------------------------------------------------------------------------------

_CHANNELS: Mapping[str, tuple[str, Sequence[str]]] = {
    "documents": ("What publishers send.", ("document", "documentDeletion", "documentCloudEvent")),
    "receipts": ("What became of each record of `documents`.", ("receipt",)),
    "queries": ("What is asked.", ("query", "queryCloudEvent")),
    "results": ("The answers to queries that name no other topic.", ("result",)),
    "impressions": ("What was shown for each query.", ("impression",)),
    "feedback": ("What people did with what they were shown.", ("feedback",)),
    "click-memory": (
        "What clicks taught, by query and by word.",
        ("rememberedClicks", "memorySummary", "clickMemoryDeletion"),
    ),
    "profiles": ("What users chose lately.", ("profile", "profileDeletion")),
    "user-salts": ("What links hashes to users, until it is destroyed.", ("userSalt", "userSaltDeletion")),
    "forget": ("What is to be forgotten.", ("forgetRequest",)),
    "forgotten": ("What was forgotten, for each request.", ("forgetReceipt",)),
    "bad-cases": ("What went wrong, for operators.", ("badCase",)),
    "assignments": ("The index log.", ("assignment", "assignmentDeletion", "epochComplete")),
    "codebooks": (
        "The trees of meanings, and which one serves.",
        ("codebookEpoch", "treePart", "activeEpoch", "leafState", "rollBack"),
    ),
    "models": (
        "What is learned about queries, and which of it serves.",
        ("modelBundle", "activeModel", "adapterRollout", "rolloutRequest", "rolloutRequestDone"),
    ),
    "training": ("Requests to train, and how far they are.", ("trainingRequest", "trainingProgress")),
    "moves": ("Requests to give a document an id in another leaf.", ("move",)),
    "documents.dlq": ("Records of `documents` that could not be used.", ("deadLetter",)),
    "moves.dlq": ("Records of `moves` that could not be used.", ("deadLetter",)),
    "queries.dlq": ("Records of `queries` that could not be used.", ("deadLetter",)),
    "impressions.dlq": ("Records of `impressions` that could not be used.", ("deadLetter",)),
    "feedback.dlq": ("Records of `feedback` that could not be used.", ("deadLetter",)),
    "forget.dlq": ("Records of `forget` that could not be used.", ("deadLetter",)),
}
_REPLIES = "replies"


def _channels(settings: Settings) -> Json:
    channels: Json = {}
    for spec in topic_specs(settings):
        name = spec.name.removeprefix(settings.prefix)
        description, messages = _CHANNELS[name]
        channels[_channel_id(name)] = {
            "address": spec.name,
            "description": description,
            "messages": _message_references(messages),
            "bindings": {"kafka": _topic_binding(spec, settings)},
        }
    results = settings.topic("results")
    channels[_REPLIES] = {
        "address": None,
        "description": f"The topic that header `{REPLY_TO}` of a query names: `{results}` (the default), or one "
        f"whose name begins with `{results}.`, made by those who use it.",
        "messages": _message_references(["result"]),
    }
    return channels


def _channel_id(name: str) -> str:
    return name.replace(DLQ, "DeadLetters")


def _message_references(names: Sequence[str]) -> Json:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _topic_binding(spec: TopicSpec, settings: Settings) -> Json:
    return {
        "topic": spec.name,
        "partitions": spec.partitions,
        "replicas": settings.kafka.replication_factor,
        "topicConfiguration": {
            "cleanup.policy": [spec.cleanup_policy],
            **{name: int(value) for name, value in spec.config.items()},
        },
        **BINDING,
    }


# -- operations --------------------------------------------------------------------------------------------


def _operation(action: str, channel: str, summary: str, reply: Json | None = None) -> Json:
    operation: Json = {
        "action": action,
        "channel": _channel(channel),
        "summary": summary,
        "messages": _messages_of(channel),
    }
    return operation if reply is None else {**operation, "reply": reply}


def _channel(name: str) -> Json:
    return {"$ref": f"#/channels/{_channel_id(name)}"}


def _messages_of(channel: str) -> list[Json]:
    names = ["result"] if channel == _REPLIES else _CHANNELS[channel][1]
    return [{"$ref": f"#/channels/{_channel_id(channel)}/messages/{name}"} for name in names]


def _dead_letters_of(name: str) -> Json:
    return _operation("send", name + DLQ, f"Keep a record of `{name}` that could not be used.")


_RECEIPT_REPLY = {"channel": _channel("receipts"), "messages": _messages_of("receipts")}
_RESULT_REPLY = {
    "address": {
        "location": f"$message.header#/{REPLY_TO}",
        "description": "Without the header: `trieflow.results`.",
    },
    "channel": _channel(_REPLIES),
    "messages": _messages_of(_REPLIES),
}
_OPERATIONS: Json = {
    "indexDocument": _operation(
        "receive", "documents", "Index, change or delete a document.", _RECEIPT_REPLY
    ),
    "answerQuery": _operation("receive", "queries", "Answer a search request.", _RESULT_REPLY),
    "takeFeedback": _operation("receive", "feedback", "Learn from what people did."),
    "takeImpression": _operation("receive", "impressions", "Learn from what they were shown."),
    "tellClickMemory": _operation("send", "click-memory", "Tell searchers what clicks taught."),
    "tellProfile": _operation("send", "profiles", "Tell searchers what a user chose lately."),
    "makeUserSalt": _operation("send", "user-salts", "Make the salt of a user who was not seen before."),
    "readUserSalt": _operation("receive", "user-salts", "Hash users by their salts."),
    "forget": _operation(
        "receive",
        "forget",
        "Give up what is kept of a user or of a document.",
        {"channel": _channel("forgotten"), "messages": _messages_of("forgotten")},
    ),
    "sendForgetReceipt": _operation("send", "forgotten", "Tell what was forgotten, for each request."),
    "noteBadCase": _operation("send", "bad-cases", "Tell operators what went wrong."),
    "moveDocument": _operation("receive", "moves", "Give a document an id in another leaf."),
    "sendReceipt": _operation("send", "receipts", "Tell what became of a record, one for each."),
    "sendResult": _operation("send", "results", "Answer a query that names no other topic."),
    "sendImpression": _operation("send", "impressions", "Tell what an answer showed."),
    "logAssignment": _operation("send", "assignments", "Log what the index holds."),
    "publishCodebook": _operation("send", "codebooks", "Publish a fitted tree, or switch to it."),
    "publishModel": _operation("send", "models", "Publish a bundle, or let it serve."),
    "takeTrainingRequest": _operation("receive", "training", "Train an adapter."),
    "tellTrainingProgress": _operation("send", "training", "Tell how far a training is."),
    "keepDeadDocument": _dead_letters_of("documents"),
    "keepDeadMove": _dead_letters_of("moves"),
    "keepDeadQuery": _dead_letters_of("queries"),
    "keepDeadImpression": _dead_letters_of("impressions"),
    "keepDeadFeedback": _dead_letters_of("feedback"),
    "keepDeadForgetRequest": _dead_letters_of("forget"),
}
