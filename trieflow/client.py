"""`Client`: publish, delete, search and click through the topics. Loads no model.

    with Client(brokers="localhost:9092") as client:
        receipt = client.publish("boot-1", {"title": "Red boots"}, wait=True)
        print(client.search("rote Stiefel", read_after=receipt).hits)

Replies are read from where a reply partition ended before the request was sent; the first search touches one
partition only, so that a single question from a fresh process is quick. Thread-safe.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import cached_property
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack, overload

import orjson

from streams.codec import decode_body, decode_key
from streams.errors import DataError
from streams.events.base import Event
from streams.events.documents import Document, Receipt
from streams.events.queries import Query, Result
from streams.headers import CORRELATION_ID, DEADLINE, DELETED, REPLY_TO, TYPES, IncomingHeaders, now_ms
from streams.headers import cloud_event as event_headers
from streams.records import Record
from streams.settings import Settings, load_settings
from trieflow.questions import Question, SearchOptions, build_query
from trieflow.receipts import find_receipt
from trieflow.replies import NoAnswerError, Pending, RecordAddress, ReplyReader, settle
from trieflow.writer import Writer

RECEIPT_TIMEOUT_S = 30.0
"""How long `wait=True` waits: a first document may have to wait for a model to load."""

IN_FLIGHT = 512
"""How many documents `publish_many` has under way at most."""

_SOURCE = "trieflow/client"
# A failed result `expired` is made at the deadline and needs a moment to arrive.
_DEADLINE_MARGIN_S = 0.5

E = TypeVar("E", bound=Event)
DocumentBody = Document | Mapping[str, Any]


class Client:
    """A connection to the system. Close it, or use it as a context manager."""

    def __init__(
        self, settings: Settings | None = None, *, brokers: str | None = None, prefix: str | None = None
    ) -> None:
        """Take `settings`, else read file and environment. Raises SettingsError, BrokerError."""
        settings = settings or load_settings()
        named = {"brokers": brokers, "prefix": prefix}
        self.settings = settings.model_copy(update={k: v for k, v in named.items() if v is not None})
        self._writer = Writer(self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is being written, then disconnect. Raises BrokerError when records are left."""
        try:
            self._writer.close()
        finally:
            if "_replies" in self.__dict__:
                self._replies.close()

    @overload
    def publish(
        self, document_id: str, document: DocumentBody, *, wait: Literal[False] = False
    ) -> RecordAddress: ...
    @overload
    def publish(
        self, document_id: str, document: DocumentBody, *, wait: Literal[True] | float
    ) -> Receipt: ...
    def publish(
        self, document_id: str, document: DocumentBody, *, wait: bool | float = False
    ) -> RecordAddress | Receipt:
        """Write a document; return where it stands, or with `wait` (seconds, or True) its receipt.

        A receipt may say `rejected`. Raises DataError for a document that the schema refuses, NoAnswerError,
        BrokerError.
        """
        if wait is False:
            return self._send_document(document_id, document, correlation_id=None).result()
        return self.publish_async(document_id, document).result(_seconds(wait))

    def publish_async(self, document_id: str, document: DocumentBody | None) -> Pending[Receipt]:
        """Write a document (None deletes it) and return at once. Raises DataError, BrokerError."""
        self._replies.follow(self.settings.topic("receipts"), _key(document_id))
        correlation_id = str(uuid.uuid4())
        reply = self._replies.expect(correlation_id)
        written = self._send_document(document_id, document, correlation_id=correlation_id)
        return _pending(document_id, written, reply, _decode_receipt, RECEIPT_TIMEOUT_S)

    def publish_many(
        self,
        documents: Iterable[tuple[str, DocumentBody | None]],
        *,
        on_receipt: Callable[[Receipt], None] | None = None,
        on_written: Callable[[RecordAddress], None] = lambda address: None,
        in_flight: int = IN_FLIGHT,
        timeout: float = RECEIPT_TIMEOUT_S,
    ) -> int:
        """Write many documents (None deletes) and return how many; at most `in_flight` wait at a time.

        With `on_receipt`, every receipt is awaited and handed over in this thread, in the order of arrival;
        without it, `on_written` gets the address of each record once Kafka has confirmed it. `timeout` is the
        longest time in seconds without any progress. Raises what `publish` raises; what was written until then
        stays written.
        """
        done: SimpleQueue[Callable[[], Receipt | RecordAddress]] = SimpleQueue()
        count = under_way = 0
        for document_id, document in documents:
            while under_way >= in_flight:
                _take(done, on_receipt or _nothing, on_written, timeout)
                under_way -= 1
            if on_receipt is None:
                written = self._send_document(document_id, document, correlation_id=None)
                written.add_done_callback(lambda future: done.put(future.result))
            else:
                self.publish_async(document_id, document).on_done(lambda each: done.put(each.result))
            count, under_way = count + 1, under_way + 1
        for _ in range(under_way):
            _take(done, on_receipt or _nothing, on_written, timeout)
        return count

    @overload
    def delete(self, document_id: str, *, wait: Literal[False] = False) -> RecordAddress: ...
    @overload
    def delete(self, document_id: str, *, wait: Literal[True] | float) -> Receipt: ...
    def delete(self, document_id: str, *, wait: bool | float = False) -> RecordAddress | Receipt:
        """Delete a document; return where the tombstone stands, or with `wait` its receipt."""
        if wait is False:
            return self._send_document(document_id, None, correlation_id=None).result()
        return self.publish_async(document_id, None).result(_seconds(wait))

    def search(self, question: Question | None = None, **options: Unpack[SearchOptions]) -> Result:
        """Ask, and return the answer: `hits`, or `error` with a code.

        Raises DataError for a question that the schema refuses, NoAnswerError, BrokerError.
        """
        return self.search_async(question, **options).result()

    def search_async(
        self, question: Question | None = None, **options: Unpack[SearchOptions]
    ) -> Pending[Result]:
        """Ask and return at once; `key` of what is returned is the query id.

        `question`: a text, a list of texts and parts, a mapping as in the contract, or a `Query`.
        """
        timeout = options.get("timeout") or self.settings.search.deadline_s
        query = build_query(question, options, inline_limit=self.settings.content.inline_limit)
        return self._ask(query, timeout)

    def browse(
        self,
        prefix: str | None = None,
        *,
        depth: int = 1,
        examples: int = 3,
        **options: Unpack[SearchOptions],
    ) -> Result:
        """Count documents below the branches of the tree of ids, from `prefix` (as 3.17) or from the root.

        The answer has `branches`, or `error` with a code; of the options, `filter`, `read_after` and `timeout`
        count. Raises as `search` does.
        """
        asked = {"prefix": prefix, "depth": depth, "examples": examples}
        return self.search({"browse": asked}, **options)

    def click(self, query_id: str, document_id: str, action: str = "click") -> RecordAddress:
        """Tell what a person did with a hit: click, save, hide, convert or view. Raises DataError."""
        from streams.events.impressions import Feedback

        body = orjson.dumps({"query_id": query_id, "document_id": document_id, "action": action})
        decode_body(body, model=Feedback, topic="feedback", headers=IncomingHeaders())
        headers = event_headers(event_type=TYPES["feedback"], source=_SOURCE)
        return self._send("feedback", key=_key(query_id), value=body, headers=headers).result()

    def receipt(
        self, document_id: str, *, offset: int | None = None, timeout: float = RECEIPT_TIMEOUT_S
    ) -> Receipt:
        """The receipt of the event at `offset` of the document's partition, else the newest of the document.

        Waits up to `timeout` seconds for it. Receipts are kept for a day. Raises NoAnswerError, BrokerError.
        """
        return find_receipt(self.settings, document_id, offset=offset, timeout=timeout)

    @cached_property
    def _replies(self) -> ReplyReader:
        return ReplyReader(self.settings)

    def _ask(self, query: Query, timeout: float) -> Pending[Result]:
        query_id = str(uuid.uuid4())
        topic = self.settings.topic("results")
        self._replies.follow(topic, query_id.encode())
        reply = self._replies.expect(query_id)
        extra = {
            CORRELATION_ID: query_id,
            REPLY_TO: topic,
            DEADLINE: str(now_ms() + int(timeout * 1_000)),
        }
        headers = event_headers(
            event_type=TYPES["queries"],
            source=_SOURCE,
            event_id=query_id,
            extra=[(name, value.encode()) for name, value in extra.items()],
        )
        written = self._send("queries", key=query_id.encode(), value=query.to_json(), headers=headers)
        return _pending(query_id, written, reply, _decode_result, timeout + _DEADLINE_MARGIN_S)

    def _send_document(
        self, document_id: str, document: DocumentBody | None, *, correlation_id: str | None
    ) -> Future[RecordAddress]:
        extra = [] if correlation_id is None else [(CORRELATION_ID, correlation_id.encode())]
        kind = TYPES["documents"] if document is not None else DELETED
        headers = event_headers(event_type=kind, source=_SOURCE, extra=extra)
        value = None if document is None else _body(document)
        return self._send("documents", key=_key(document_id), value=value, headers=headers)

    def _send(
        self, name: str, *, key: bytes, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> Future[RecordAddress]:
        return self._writer.send(self.settings.topic(name), key=key, value=value, headers=headers)


def _key(text: str) -> bytes:
    key = text.encode("utf-8", "surrogateescape")
    decode_key(key)
    return key


def _body(document: DocumentBody) -> bytes:
    if isinstance(document, Document):
        return document.to_json()
    try:
        body = orjson.dumps(document)
    except orjson.JSONEncodeError as error:
        raise DataError("not_json", f"the document cannot be written as JSON: {error}") from error
    # Checked here, where the mistake is cheap, and sent as given: a newer system may know more fields.
    decode_body(body, model=Document, topic="documents", headers=IncomingHeaders())
    return body


def _seconds(wait: bool | float) -> float:
    return RECEIPT_TIMEOUT_S if wait is True else float(wait)


def _decode_result(record: Record) -> Result:
    return _decoded(record, Result, "results")


def _decode_receipt(record: Record) -> Receipt:
    return _decoded(record, Receipt, "receipts")


def _decoded(record: Record, model: type[E], topic: str) -> E:
    event = decode_body(record.value or b"", model=model, topic=topic, headers=record.incoming)
    if event is None:
        raise DataError("schema", f"the record in {RecordAddress.of(record)} is empty")
    return event


def _pending(
    key: str,
    written: Future[RecordAddress],
    reply: Future[Record],
    decode: Callable[[Record], E],
    timeout: float,
) -> Pending[E]:
    def failed(future: Future[RecordAddress]) -> None:
        error = future.exception()
        if isinstance(error, Exception):
            settle(reply, error)

    written.add_done_callback(failed)
    return Pending(key, written=written, reply=reply, decode=decode, default_timeout_s=timeout)


def _nothing(receipt: Receipt) -> None:
    """Nobody asked for receipts."""


def _take(
    done: SimpleQueue[Callable[[], Receipt | RecordAddress]],
    on_receipt: Callable[[Receipt], None],
    on_written: Callable[[RecordAddress], None],
    timeout: float,
) -> None:
    try:
        outcome = done.get(timeout=timeout)()
    except Empty:
        raise NoAnswerError(
            f"no receipt within {timeout:g} s. Is an indexer running? `trieflow status` shows lag and health"
        ) from None
    if isinstance(outcome, Receipt):
        on_receipt(outcome)
    else:
        on_written(outcome)
