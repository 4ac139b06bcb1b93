"""What the log says: `assignments`, `codebooks` and `moves` read from their beginning, folded by code of its own.

Nothing of `state` takes part, so that a fault there is not repeated here.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from streams.events.assignments import CONTROL_PREFIX
from streams.headers import derived_id
from streams.records import Record, read_to_end
from streams.semantic_id import SemanticId
from streams.settings import Settings

Code = tuple[int, int]
"""Epoch and packed id."""


@dataclass(frozen=True)
class LogDocument:
    """The latest record of a document. A deleted one has no ids."""

    partition: int
    ids: dict[int, int]
    retired: frozenset[Code]
    version: int | None
    content_hash: str = ""
    title: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    vectors: bytes = b""
    live: bool = True


@dataclass
class LogFold:
    """The log as it stands at its end."""

    documents: dict[str, LogDocument] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    """By partition, the offset behind its last record."""
    completed: dict[Code, int] = field(default_factory=dict)
    """(epoch, partition) -> documents, as the control records say."""
    owners: dict[Code, str] = field(default_factory=dict)
    """Every id that any record ever named, and whose it was first."""
    given_twice: list[str] = field(default_factory=list)
    records: int = 0
    event_ids: set[str] = field(default_factory=set)
    active: int = 0
    codebook_end: int = -1
    codebook_keys: Counter[str] = field(default_factory=Counter)
    gone: set[Code] = field(default_factory=set)
    """(epoch, leaf) of leaves that take no documents any more."""
    moves_asked: int = 0
    moves_done: int = 0

    def live(self, partition: int | None = None) -> dict[str, LogDocument]:
        """The live documents, of one partition or of all."""
        return {
            key: document
            for key, document in self.documents.items()
            if document.live and partition in (None, document.partition)
        }

    def strays(self) -> int:
        """Documents whose id in the active epoch is in a leaf that was given up: upkeep will send them on."""
        leaves = (
            (self.active, d.ids[self.active] >> 16) for d in self.live().values() if self.active in d.ids
        )
        return sum(leaf in self.gone for leaf in leaves)


def fold_log(settings: Settings) -> LogFold:
    """Read it all. Nobody may write meanwhile."""
    fold = LogFold()
    for record in _records(settings, "assignments", settings.partitions):
        take_record(fold, record)
    for record in _records(settings, "codebooks", 1):
        fold.codebook_end = record.offset
        _take_codebook(fold, record)
    for record in _records(settings, "moves", settings.partitions):
        fold.moves_asked += 1
        event_id = derived_id(
            topic=record.topic, partition=record.partition, offset=record.offset, operation="assignment"
        )
        fold.moves_done += event_id in fold.event_ids
    return fold


def _records(settings: Settings, name: str, partitions: int) -> Iterator[Record]:
    for partition in range(partitions):
        topic = settings.topic(name)
        for batch in read_to_end(settings, topic=topic, partition=partition, start=0):
            yield from batch


def take_record(fold: LogFold, record: Record) -> None:
    """A record of `assignments`, in the order of its partition."""
    fold.records += 1
    fold.ends[record.partition] = record.offset + 1
    fold.event_ids.add(record.incoming.text("ce_id") or "")
    key = (record.key or b"").decode()
    if key.startswith(CONTROL_PREFIX):
        control = orjson.loads(record.value or b"")
        fold.completed[control["epoch"], control["partition"]] = control["documents"]
        return
    document = _deleted(record) if record.value is None else _assigned(record)
    fold.documents[key] = document
    for code in (*document.ids.items(), *document.retired):
        if fold.owners.setdefault(code, key) != key:
            fold.given_twice.append(f"{SemanticId.unpacked(code[1])} of epoch {code[0]} is {key}'s too")


def _assigned(record: Record) -> LogDocument:
    body = orjson.loads(record.value or b"")
    vectors = hashlib.sha256()
    for vector in body["vectors"]:
        vectors.update(f"{vector['stamp']}/{vector['kind']}/".encode() + base64.b64decode(vector["data"]))
    return LogDocument(
        partition=record.partition,
        ids={given["epoch"]: _packed(given["semantic_id"]) for given in body["ids"]},
        retired=frozenset(
            (given["epoch"], _packed(given["semantic_id"])) for given in body.get("retired", [])
        ),
        version=body.get("version"),
        content_hash=body["content_hash"],
        title=body.get("title"),
        fields=body.get("fields", {}),
        vectors=vectors.digest(),
    )


def _deleted(record: Record) -> LogDocument:
    headers = record.incoming
    codes = {
        (epoch, _packed(text))
        for name in ("ids", "retired")
        for epoch, text in orjson.loads(headers.values.get(name, b"[]"))
    }
    version = headers.text("version")
    return LogDocument(
        record.partition, {}, frozenset(codes), None if version is None else int(version), live=False
    )


def _packed(text: str) -> int:
    category, subcategory, cluster, instance = map(int, text.split("."))
    return ((category * 256 + subcategory) * 4096 + cluster) * 65536 + instance


def _take_codebook(fold: LogFold, record: Record) -> None:
    name = (record.key or b"").decode()
    body = orjson.loads(record.value or b"{}")
    if name == "active":
        fold.active = body["epoch"]
        fold.codebook_keys["switches"] += 1
        return
    if not name.startswith("epoch/"):
        return
    _, epoch, *leaf = name.split("/")
    if not leaf:
        fold.codebook_keys["trees" if record.value else "trees dropped"] += 1
    if not leaf or leaf[0] != "leaf" or record.value is None:
        return
    packed = _packed(leaf[1] + ".0") >> 16
    fold.codebook_keys["leaves gone" if body.get("gone") else "leaves changed"] += 1
    fold.codebook_keys["leaves born"] += body.get("born_from") is not None
    (fold.gone.add if body.get("gone") else fold.gone.discard)((int(epoch), packed))
