"""Forgetting a user or a document, with a receipt. Interrupted anywhere and run again, it ends the same.

A user: the learner takes back what it knows of the user's hashes and confirms it, then their salts are destroyed.
A document: its picture goes from the content store, the document from the index, then the learner gives it up.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel

from agents import crash_points
from agents.keyed_hashes import KeyedHashes
from agents.pseudonyms import read_salt
from streams.codec import decode_body, decode_key
from streams.errors import TrieflowError
from streams.events.documents import ReceiptStatus
from streams.events.forgetting import ForgetReceipt, ForgetRequest
from streams.headers import CORRELATION_ID, TYPES, Headers, cloud_event
from streams.records import Record, read_to_end
from streams.settings import Settings
from trieflow.client import Client
from trieflow.document_pictures import Picture, PictureFate, give_up, picture_of
from trieflow.remaining import Remaining, remaining_of_document, remaining_of_user
from trieflow.replies import NoAnswerError, Pending, ReplyReader
from trieflow.writer import Writer

SOURCE = "trieflow/client"
Progress = Callable[[], None]


class ForgetPlan(BaseModel):
    """What would be forgotten. people: hashes of the user. salts: keys in `user-salts`."""

    what: Literal["user", "document"]
    name: str
    people: list[str] = []
    salts: list[str] = []
    picture: Picture | None = None


class ForgetOutcome(BaseModel):
    """The receipt. learner: what it took back, None when nobody waited for it or it had nothing to do."""

    what: Literal["user", "document"]
    name: str
    at: datetime
    request_id: str | None = None
    learner: ForgetReceipt | None = None
    salts_destroyed: int = 0
    document: ReceiptStatus | None = None
    picture: PictureFate | None = None
    remaining: list[Remaining] = []


def plan_user(settings: Settings, user_id: str, *, on_record: Progress) -> ForgetPlan:
    """Find the salts of a user: all of `user-salts` is read. Raises TrieflowError without the key, BrokerError."""
    hashes = KeyedHashes(settings, make=False)
    prefix = f"{hashes.salt_key(user_id)}/".encode()
    salts: dict[str, str] = {}
    for record in _records(settings, on_record):
        if record.key is not None and record.key.startswith(prefix):
            salt = read_salt(record).salt
            if salt is None:
                salts.pop(record.key.decode(), None)
            else:
                salts[record.key.decode()] = salt
    people = [hashes.person(user_id, salt=salt) for salt in salts.values()]
    return ForgetPlan(what="user", name=user_id, people=people, salts=list(salts))


def plan_document(settings: Settings, document_id: str, *, on_record: Progress) -> ForgetPlan:
    """Find the picture of a document, and who else shows it: `assignments` is read. Raises BrokerError."""
    decode_key(document_id.encode())
    picture = picture_of(settings, document_id, on_record=on_record)
    return ForgetPlan(what="document", name=document_id, picture=picture)


def forget(settings: Settings, plan: ForgetPlan, *, timeout: float, wait: bool = True) -> ForgetOutcome:
    """Carry a plan out. `timeout`: seconds to wait for each worker; without `wait` the request is only written.

    Raises NoAnswerError when a worker does not answer (what was asked for stands; run it again), BrokerError.
    """
    if plan.what == "document":
        return _forget_document(settings, plan, timeout=timeout, wait=wait)
    outcome = ForgetOutcome(what="user", name=plan.name, at=datetime.now(UTC))
    if plan.people:
        request = ForgetRequest(request_id=str(uuid.uuid4()), people=plan.people)
        outcome.request_id = request.request_id
        outcome.learner = _ask(settings, request, timeout=timeout, wait=wait)
        if __debug__:
            crash_points.reached("confirmed")
        _destroy(settings, plan.salts)
        outcome.salts_destroyed = len(plan.salts)
    outcome.remaining = remaining_of_user(settings)
    return outcome


def _forget_document(settings: Settings, plan: ForgetPlan, *, timeout: float, wait: bool) -> ForgetOutcome:
    outcome = ForgetOutcome(what="document", name=plan.name, at=datetime.now(UTC))
    # First: of a document that is deleted already nobody knows the picture.
    outcome.picture = None if plan.picture is None else give_up(settings, plan.picture)
    if __debug__:
        crash_points.reached("picture-deleted")
    with Client(settings) as client:
        if wait:
            outcome.document = client.delete(plan.name, wait=timeout).status
        else:
            client.delete(plan.name)
    if __debug__:
        crash_points.reached("document-deleted")
    request = ForgetRequest(request_id=str(uuid.uuid4()), document_id=plan.name)
    outcome.request_id = request.request_id
    outcome.learner = _ask(settings, request, timeout=timeout, wait=wait)
    outcome.remaining = remaining_of_document(settings)
    return outcome


def _ask(settings: Settings, request: ForgetRequest, *, timeout: float, wait: bool) -> ForgetReceipt | None:
    """Write a request; returns the learner's receipt, None without `wait`."""
    writer, replies = Writer(settings), ReplyReader(settings)
    key = request.request_id.encode()
    try:
        if wait:
            replies.follow(settings.topic("forgotten"), key)
        reply = replies.expect(request.request_id)
        headers = _headers("forget", [(CORRELATION_ID, key)])
        written = writer.send(settings.topic("forget"), key=key, value=request.to_json(), headers=headers)
        pending = Pending(
            request.request_id, written=written, reply=reply, decode=_receipt, default_timeout_s=timeout
        )
        pending.address()
        if __debug__:
            crash_points.reached("asked")
        return pending.result() if wait else None
    except NoAnswerError as error:
        raise NoAnswerError(
            f"{error}. No learner has confirmed the request; it stands: start one by `trieflow worker learner` and "
            f"run this again, or run it with --no-wait"
        ) from error
    finally:
        replies.close()
        writer.close()


def _destroy(settings: Settings, keys: list[str]) -> None:
    writer = Writer(settings)
    try:
        written = [
            writer.send(
                settings.topic("user-salts"), key=key.encode(), value=None, headers=_headers("user-salts")
            )
            for key in keys
        ]
    finally:
        writer.close()
    for each in written:
        each.result()


def _headers(topic: str, extra: Headers | None = None) -> Headers:
    return cloud_event(event_type=TYPES[topic], source=SOURCE, extra=extra or ())


def _receipt(record: Record) -> ForgetReceipt:
    receipt = decode_body(
        record.value or b"", model=ForgetReceipt, topic="forgotten", headers=record.incoming
    )
    if receipt is None:
        raise TrieflowError("the receipt is empty")
    return receipt


def _records(settings: Settings, on_record: Progress) -> Iterator[Record]:
    for batch in read_to_end(settings, topic=settings.topic("user-salts"), partition=0, start=0):
        for record in batch:
            on_record()
            yield record
