"""The picture of a document in the content store: found by the index log, given up when nothing else shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import orjson
from pydantic import BaseModel

from agents.content_store import ContentStore
from models.encoders.cached import FolderVectorStore, picture_key
from models.encoders.registry import describe_encoder
from streams.partitioner import partition_of
from streams.records import Record, read_to_end
from streams.settings import Settings

PictureFate = Literal["removed", "used by others", "not in this content store"]


class Picture(BaseModel):
    """The thumbnail of a document (its URL, with the hash of the picture in it), and how many others show it."""

    url: str
    others: int


def picture_of(settings: Settings, document_id: str, *, on_record: Callable[[], None]) -> Picture | None:
    """The picture that `assignments` names; None without one. Where there is one, all of the topic is read."""
    key = document_id.encode()
    url: str | None = None
    for record in _records(settings, partition_of(key, settings.partitions), on_record):
        if record.key == key:
            url = None if record.value is None else orjson.loads(record.value).get("image")
    if url is None:
        return None
    name = url.rpartition("/")[2].encode()
    users: set[bytes] = set()
    for partition in range(settings.partitions):
        for record in _records(settings, partition, on_record):
            if record.key is not None and record.value is not None and name in record.value:
                users.add(record.key)
            else:
                users.discard(record.key or b"")
    return Picture(url=url, others=len(users - {key}))


def give_up(settings: Settings, picture: Picture) -> PictureFate:
    """Delete a thumbnail, and the vector by which the picture would not be encoded again. Raises StateError."""
    if picture.others:
        return "used by others"
    was_there = ContentStore(settings.content_store).delete(picture.url)
    content_hash = picture.url.rpartition("/")[2].partition(".")[0]
    vectors = FolderVectorStore(f"{settings.content_store}/vectors")
    stamp = describe_encoder(settings.encoder).stamp
    for side in ("document", "query"):
        vectors.delete(picture_key(stamp, side, content_hash))
    return "removed" if was_there else "not in this content store"


def _records(settings: Settings, partition: int, on_record: Callable[[], None]) -> Iterator[Record]:
    topic = settings.topic("assignments")
    for batch in read_to_end(settings, topic=topic, partition=partition, start=0):
        for record in batch:
            on_record()
            yield record
