"""From files to documents: pictures, folders of pictures, JSON lines, standard input."""

from __future__ import annotations

import base64
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import orjson

from streams.codec import decode_body, decode_key
from streams.errors import DataError
from streams.events.documents import Document, ImageSource, Receipt
from streams.headers import IncomingHeaders
from trieflow.client import Client
from trieflow.pictures import SUFFIXES, fitted
from trieflow.replies import RecordAddress

STANDARD_INPUT = "-"
_JSON_LINES = frozenset({".jsonl", ".ndjson", ".json"})
_SHOWN_ERRORS = 5


@dataclass(frozen=True)
class Item:
    """One document to publish."""

    document_id: str
    document: Document


@dataclass(frozen=True)
class Refused:
    """Something that could not be made into a document; `where` names file and line."""

    where: str
    error: DataError


@dataclass(frozen=True)
class PictureStyle:
    """How pictures become documents: with a title from the file name, by reference instead of by content."""

    titles: bool = False
    by_url: bool = False
    inline_limit: int = 256 * 1024


@dataclass
class Summary:
    """What became of all: counts by status, the first errors, and which offsets were written."""

    counts: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    written: dict[tuple[str, int], tuple[int, int, int]] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return self.counts["rejected"] + self.counts["refused"]

    def add_receipt(self, receipt: Receipt, topic: str) -> None:
        self.counts[receipt.status] += 1
        if receipt.error is not None:
            self._add_error(f"{receipt.document_id}: {receipt.error.code}: {receipt.error.message}")
        self.add_written(RecordAddress(topic, receipt.source.partition, receipt.source.offset))

    def add_refused(self, refused: Refused) -> None:
        self.counts["refused"] += 1
        self._add_error(f"{refused.where}: {refused.error}")

    def add_written(self, address: RecordAddress) -> None:
        """Count a record; each partition keeps (count, first offset, last offset)."""
        place = (address.topic, address.partition)
        count, first, last = self.written.get(place, (0, address.offset, address.offset))
        self.written[place] = (count + 1, min(first, address.offset), max(last, address.offset))

    def _add_error(self, text: str) -> None:
        if len(self.errors) < _SHOWN_ERRORS:
            self.errors.append(text)


def publish_items(
    client: Client,
    items: Iterable[Item | Refused],
    *,
    wait: bool,
    timeout: float,
    on_progress: Callable[[], None] = lambda: None,
    summary: Summary,
) -> None:
    """Publish all; `summary` tells at any moment how far it came. `on_progress` is called for each one.

    Raises NoAnswerError when nothing happens for `timeout` seconds, BrokerError.
    """
    topic = client.settings.topic("documents")

    def documents() -> Iterator[tuple[str, Document]]:
        for item in items:
            if isinstance(item, Item):
                yield item.document_id, item.document
            else:
                summary.add_refused(item)
                on_progress()

    def received(receipt: Receipt) -> None:
        summary.add_receipt(receipt, topic)
        on_progress()

    def written(address: RecordAddress) -> None:
        summary.counts["written"] += 1
        summary.add_written(address)
        on_progress()

    if wait:
        client.publish_many(documents(), on_receipt=received, timeout=timeout)
    else:
        client.publish_many(documents(), on_written=written, timeout=timeout)


def items_of(paths: Iterable[str], style: PictureStyle) -> Iterator[Item | Refused]:
    """Return what stands behind the paths, in order. Raises DataError `unreachable` for one that is missing."""
    for name in paths:
        path = Path(name)
        if name == STANDARD_INPUT:
            yield from _json_lines(sys.stdin.buffer, "standard input")
        elif path.is_dir():
            for picture in _pictures(path):
                yield _picture(picture, picture.relative_to(path).as_posix(), style)
        elif path.suffix.lower() in _JSON_LINES:
            with path.open("rb") as lines:
                yield from _json_lines(lines, name)
        elif path.is_file():
            yield _picture(path, path.name, style)
        else:
            raise DataError("unreachable", f"there is no file or folder {name}")


def count_of(paths: Iterable[str]) -> int | None:
    """How many items there will be; None when standard input is among the paths."""
    total = 0
    for name in paths:
        path = Path(name)
        if name == STANDARD_INPUT:
            return None
        if path.is_dir():
            total += sum(1 for _ in _pictures(path))
        elif path.suffix.lower() in _JSON_LINES and path.is_file():
            with path.open("rb") as lines:
                total += sum(1 for line in lines if line.strip())
        else:
            total += 1
    return total


def _pictures(folder: Path) -> Iterator[Path]:
    """The pictures below a folder, by name; hidden files and folders are left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            yield path


def _picture(path: Path, document_id: str, style: PictureStyle) -> Item | Refused:
    try:
        decode_key(document_id.encode("utf-8", "surrogateescape"))
        image = ImageSource(url=path.absolute().as_uri()) if style.by_url else _inline(path, style)
    except DataError as error:
        return Refused(str(path), error)
    except OSError as error:
        return Refused(str(path), DataError("unreachable", error.strerror or str(error)))
    title = path.stem.replace("_", " ").replace("-", " ").strip() if style.titles else None
    return Item(document_id, Document(title=title or None, images=[image]))


def _inline(path: Path, style: PictureStyle) -> ImageSource:
    return ImageSource(bytes=base64.b64encode(fitted(path.read_bytes(), style.inline_limit)).decode())


def _json_lines(lines: BinaryIO, name: str) -> Iterator[Item | Refused]:
    """Each line is a document as in the contract, and its `id`."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield _json_line(line)
            except DataError as error:
                yield Refused(f"{name} line {number}", error)


def _json_line(line: bytes) -> Item:
    document = decode_body(line, model=Document, topic="documents", headers=IncomingHeaders())
    document_id = orjson.loads(line).get("id")
    if not isinstance(document_id, str):
        raise DataError("bad_key", "a line needs an `id`, a text", field="id")
    decode_key(document_id.encode("utf-8", "surrogatepass"))
    if document is None or document.is_empty():
        raise DataError("empty_document", "at least one of title, text, images, vectors is needed")
    return Item(document_id, document)
