"""What the demo does to the system, and what it measures while doing it: publish, one by one, update, delete."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agents.codebook_log import CodebookLog
from agents.content_store import ContentStore
from streams.errors import TrieflowError
from streams.events.documents import Document, Receipt
from trieflow.client import Client
from trieflow.demo_pictures import Picture
from trieflow.demo_questions import (
    ABOUT_NEW_TITLE,
    NEW_TITLE,
    OUTLINE_OF,
    UPDATED,
    Answer,
    Question,
    ask,
)

PUBLISHED = frozenset({"indexed", "updated", "unchanged"})

_IN_FLIGHT = 256
_RECEIPT_TIMEOUT_S = 120.0
_EPOCH_TIMEOUT_S = 60.0
_EPOCH_POLL_S = 0.2
_ANYTHING = Question("anything", ("a thing",))


class DemoRefusedError(TrieflowError):
    """A document of the demo was not taken. The message has the receipt's reason."""


@dataclass
class Publishing:
    """Many pictures at once: receipts by status, seconds until the last receipt, and of them for drawing SVG."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    drawing_seconds: float = 0.0
    first: Receipt | None = None

    def receipt(self, receipt: Receipt) -> None:
        _check(receipt)
        self.counts[receipt.status] += 1
        self.first = self.first or receipt


@dataclass
class OneByOne:
    """Pictures published one at a time: milliseconds to the receipt, and to an answer that has seen it."""

    to_receipt_ms: list[float] = field(default_factory=list)
    to_answer_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Change:
    """The same question before and after a document was changed."""

    document_id: str
    receipt: Receipt
    before: Answer
    after: Answer


@dataclass(frozen=True)
class Ids:
    """One document's id before and after a tree of ids was fitted; `leaves` is 0 while there is none."""

    document_id: str
    before: Receipt
    after: Receipt
    leaves: int


def publish_all(client: Client, pictures: Sequence[Picture], on_receipt: Callable[[], None]) -> Publishing:
    """Publish the pictures and wait for all receipts; drawing goes on while the indexer works.

    Raises DemoRefusedError, NoAnswerError, BrokerError.
    """
    done = Publishing()

    def documents() -> Iterator[tuple[str, Document]]:
        for picture in pictures:
            started = time.perf_counter()
            document = picture.document()
            done.drawing_seconds += time.perf_counter() - started
            yield picture.document_id, document

    def received(receipt: Receipt) -> None:
        done.receipt(receipt)
        on_receipt()

    started = time.perf_counter()
    client.publish_many(documents(), on_receipt=received, in_flight=_IN_FLIGHT, timeout=_RECEIPT_TIMEOUT_S)
    done.seconds = time.perf_counter() - started
    return done


def publish_one_by_one(client: Client, pictures: Sequence[Picture], *, again: bool) -> OneByOne:
    """Publish each picture and ask at once with `read_after`; `again`: delete them first, they are there.

    The time to the answer includes the answer's own time. Raises what `publish_all` and `ask` raise.
    """
    if again:
        deletes = ((picture.document_id, None) for picture in pictures)
        client.publish_many(deletes, on_receipt=lambda receipt: None)
    times = OneByOne()
    for picture in pictures:
        document = picture.document()  # drawn before the clock starts
        started = time.perf_counter()
        receipt = _published(client, picture.document_id, document)
        received = time.perf_counter()
        ask(client, _ANYTHING, read_after=receipt)
        times.to_receipt_ms.append((received - started) * 1_000)
        times.to_answer_ms.append((time.perf_counter() - started) * 1_000)
    return times


def update_one(client: Client, pictures: Mapping[str, Picture]) -> Change:
    """Give a picture another title, in German, and ask for its meaning in English before and after."""
    picture = pictures[UPDATED]
    about = f"for the new title “{NEW_TITLE}”"
    question = Question(about, (ABOUT_NEW_TITLE,), expected=frozenset([picture.document_id]))
    before = ask(client, question)
    document = picture.document().model_copy(update={"title": NEW_TITLE, "language": "de"})
    receipt = _published(client, picture.document_id, document)
    after = ask(client, question, read_after=receipt)
    return Change(picture.document_id, receipt, before, after)


def delete_one(client: Client, pictures: Mapping[str, Picture]) -> Change:
    """Delete a picture, and ask by its own drawing before and after."""
    picture = pictures[OUTLINE_OF]
    question = Question(
        "by its own drawing", drawing=picture.png(), expected=frozenset([picture.document_id])
    )
    before = ask(client, question)
    receipt = client.delete(picture.document_id, wait=True)
    after = ask(client, question, read_after=receipt)
    return Change(picture.document_id, receipt, before, after)


def ids_of(client: Client, picture: Picture, before: Receipt, *, fitted: bool) -> Ids:
    """Wait for the first fitted tree, if `fitted`, then publish the picture unchanged to see its id now."""
    deadline = time.monotonic() + _EPOCH_TIMEOUT_S
    answer = ask(client, _ANYTHING)
    while fitted and not answer.result.epoch and time.monotonic() < deadline:
        time.sleep(_EPOCH_POLL_S)
        answer = ask(client, _ANYTHING)
    after = _published(client, picture.document_id, picture.document())
    return Ids(picture.document_id, before, after, _leaves(client, answer))


def _leaves(client: Client, answer: Answer) -> int:
    """How many leaves the tree has that served the answer."""
    result = answer.result
    store = ContentStore(client.settings.content_store)
    codebooks = CodebookLog(client.settings, store, stamp=result.model_version or "")
    codebooks.start()
    try:
        tree = codebooks.current.trees.get(result.epoch or 0)
    finally:
        codebooks.stop()
    return 0 if tree is None else len(tree.leaves)


def _published(client: Client, document_id: str, document: Document) -> Receipt:
    receipt = client.publish(document_id, document, wait=_RECEIPT_TIMEOUT_S)
    _check(receipt)
    return receipt


def _check(receipt: Receipt) -> None:
    if receipt.status not in PUBLISHED:
        why = f"{receipt.error.code}: {receipt.error.message}" if receipt.error else "no reason given"
        raise DemoRefusedError(f"{receipt.document_id} was {receipt.status}: {why}")
