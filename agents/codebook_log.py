"""Following the `codebooks` topic: which epochs exist, which is active, and their trees as they are now."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import structlog
from confluent_kafka import TopicPartition

from agents.content_store import ContentStore
from agents.epochs import PROVISIONAL, live_epochs
from agents.published_trees import PublishedTrees
from models.codebooks import Codebook, LeafChange
from streams.clients import FOLLOWING, reader
from streams.errors import ModelError
from streams.events.base import LogPosition
from streams.events.codebooks import (
    ACTIVE_KEY,
    ROLL_BACK_KEY,
    ActiveEpoch,
    CodebookEpoch,
    LeafState,
    RollBack,
    parse_key,
)
from streams.records import Record, first_and_end, raise_on_error
from streams.semantic_id import Leaf
from streams.settings import Settings

log = structlog.get_logger()


@dataclass(frozen=True)
class Codebooks:
    """What `codebooks` says up to `offset`: an immutable snapshot, swapped whole.

    highest: the highest epoch ever made. active_since: the offset of the record that made `active` so, -1 without
    one. gone_back_with: the number of documents at the roll-back that made it so, 0 if it was none. asked_back: a
    request to go back that waits for the curator.
    """

    trees: Mapping[int, Codebook] = field(default_factory=dict)
    active: int = PROVISIONAL
    active_since: int = -1
    switch_at: tuple[LogPosition, ...] = ()
    highest: int = PROVISIONAL
    gone_back_with: int = 0
    asked_back: RollBack | None = None
    offset: int = -1

    def live_epochs(self) -> tuple[int, ...]:
        """Epochs in which documents need ids: the active one, the one before it (roll-back), newer ones."""
        return live_epochs(self.trees, self.active)

    def is_over(self, epoch: int) -> bool:
        """Whether an epoch will not be served again. One that is not known yet is not over."""
        return epoch <= self.highest and epoch not in self.live_epochs()

    @property
    def newest(self) -> int:
        return max(self.trees, default=PROVISIONAL)


class TreeKeeper(Protocol):
    """What keeps trees in a form of its own. Called in the order of the topic, on one thread."""

    def fitted(self, tree: Codebook) -> None:
        """A tree that was fitted, or, at the start, is as it is now."""

    def changed(self, epoch: int, changes: Sequence[LeafChange]) -> None:
        """Leaves of a tree that was handed over before."""

    def dropped(self, epoch: int) -> None:
        """An epoch that will not be served again."""


class CodebookLog:
    """A thread that follows the topic. `current` is read without locks; keepers are told on the thread.

    `on_record` gets every record. `on_change` is called on the thread when `current` has changed.
    """

    def __init__(
        self,
        settings: Settings,
        store: ContentStore,
        *,
        stamp: str,
        keeper: TreeKeeper | None = None,
        on_record: Callable[[Record], None] = lambda record: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.current = Codebooks()
        self.failure: Exception | None = None
        self._settings = settings
        self._published = PublishedTrees(settings, store)
        self._stamp = stamp
        self._keeper = keeper
        self._on_record = on_record
        self._on_change = on_change
        self._stopping = threading.Event()
        self._caught_up = threading.Condition()
        self._next = 0
        self._thread = threading.Thread(target=self._run, name="codebooks", daemon=True)

    def start(self) -> None:
        """Read what stands in the topic now, then follow it. Raises ModelError when a tree is not to be had."""
        self._take_all(self._end())
        self._thread.start()

    def read_to(self, end: int) -> None:
        """Read what stands before the offset `end`, and follow nothing. Raises ModelError as `start` does."""
        self._take_all(min(end, self._end()))

    def catch_up(self, timeout_s: float = 60.0) -> None:
        """Wait until all that stands in the topic now is read. Raises ModelError when it cannot be."""
        end = self._end(timeout_s)
        with self._caught_up:
            done = self._caught_up.wait_for(lambda: self._next >= end or self.failure, timeout_s)
        if self.failure is not None:
            raise self.failure
        if not done:
            raise ModelError(f"the codebooks up to offset {end} could not be read within {timeout_s:.0f} s")

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _end(self, timeout_s: float = 60.0) -> int:
        consumer = reader(self._settings)
        try:
            partition = TopicPartition(self._settings.topic("codebooks"), 0)
            return first_and_end(consumer, partition, timeout_s=timeout_s)[1]
        finally:
            consumer.close()

    def _take_all(self, end: int) -> None:
        """The latest record of each key up to `end`: trees of epochs that are over are never loaded."""
        latest: dict[bytes, Record] = {}
        for record in self._records(0, stop_at=end):
            self._on_record(record)
            if (
                parse_key(record.key or b"").part is None
            ):  # parts are large, and needed without the store alone
                latest[record.key or b""] = record
        records = sorted(latest.values(), key=lambda record: record.offset)
        active = latest.get(ACTIVE_KEY.encode())
        if active is not None:
            self._take_active(active)
        named = {parse_key(record.key or b""): record for record in records}
        fitted = [key.epoch for key, record in named.items() if key.epoch and key.is_tree and record.value]
        live = set(live_epochs(fitted, self.current.active))
        for record in records:
            if parse_key(record.key or b"").epoch in live or record.key == ROLL_BACK_KEY.encode():
                self._take(record)
        self.current = replace(self.current, offset=max(self.current.offset, end - 1))
        self._next = end

    def _run(self) -> None:
        try:
            for record in self._records(self._next):
                self._on_record(record)
                self._take(record)
                self._prune()
                self._on_change()
                self._advance(record.offset + 1)
        except Exception as error:
            log.error("codebooks cannot be followed", exc_info=error)
            self.failure = error
            self._advance(self._next)

    def _records(self, start: int, *, stop_at: int | None = None) -> Iterator[Record]:
        consumer = reader(self._settings, **FOLLOWING)
        try:
            consumer.assign([TopicPartition(self._settings.topic("codebooks"), 0, start)])
            while not self._stopping.is_set() and (stop_at is None or start < stop_at):
                message = consumer.poll(0.2)
                if message is None:
                    continue
                if raise_on_error(message):
                    # The end of the partition; its last record may be a commit marker that never arrives.
                    start = max(start, message.offset() or 0)
                    self._advance(start)
                    continue
                record = Record.of(message)
                if stop_at is not None and record.offset >= stop_at:
                    return
                start = record.offset + 1
                yield record
        finally:
            consumer.close()

    def _advance(self, position: int) -> None:
        with self._caught_up:
            self._next = max(self._next, position)
            self._caught_up.notify_all()

    def _take(self, record: Record) -> None:
        if record.key == ACTIVE_KEY.encode():
            self._take_active(record)
        elif record.key == ROLL_BACK_KEY.encode():
            asked = None if record.value is None else RollBack.model_validate_json(record.value)
            self.current = replace(self.current, asked_back=asked)
        else:
            key = parse_key(record.key or b"")
            if key.epoch is not None and key.is_tree:
                self._take_tree(key.epoch, record)
            elif key.epoch is not None and key.leaf is not None and record.value:
                self._take_leaf(key.epoch, key.leaf, LeafState.model_validate_json(record.value))
        self.current = replace(self.current, offset=max(self.current.offset, record.offset))

    def _take_active(self, record: Record) -> None:
        event = ActiveEpoch.model_validate_json(record.value or b"")
        highest = max(self.current.highest, event.epoch, event.highest or 0)
        self.current = replace(
            self.current,
            active=event.epoch,
            active_since=record.offset,
            switch_at=tuple(event.switch_at),
            highest=highest,
            gone_back_with=event.documents or 0,
        )
        log.info("codebooks", active=event.epoch, offset=record.offset)

    def _take_tree(self, epoch: int, record: Record) -> None:
        trees = dict(self.current.trees)
        if record.value is None:
            if trees.pop(epoch, None) is not None and self._keeper is not None:
                self._keeper.dropped(epoch)
        else:
            event = CodebookEpoch.model_validate_json(record.value)
            if event.stamp != self._stamp:
                raise ModelError(
                    f"codebook epoch {event.epoch} was fitted on {event.stamp}, this encoder is {self._stamp}: "
                    "use that encoder, or another prefix and data folder"
                )
            trees[epoch] = self._published.load(event, before=record.offset)
            if self._keeper is not None:
                self._keeper.fitted(trees[epoch])
        self.current = replace(self.current, trees=trees, highest=max(self.current.highest, epoch))
        log.info("codebooks", epoch=epoch, gone=record.value is None)

    def _take_leaf(self, epoch: int, leaf: int, state: LeafState) -> None:
        if epoch not in self.current.trees:
            return
        change = leaf_change(leaf, state)
        trees = {**self.current.trees, epoch: self.current.trees[epoch].apply([change])}
        self.current = replace(self.current, trees=trees)
        if self._keeper is not None:
            self._keeper.changed(epoch, [change])

    def _prune(self) -> None:
        """Let go of trees that will not be served again."""
        over = set(self.current.trees) - set(self.current.live_epochs())
        if over:
            kept = {epoch: tree for epoch, tree in self.current.trees.items() if epoch not in over}
            self.current = replace(self.current, trees=kept)
            if self._keeper is not None:
                for epoch in over:
                    self._keeper.dropped(epoch)


def leaf_state(change: LeafChange, *, size: int) -> LeafState:
    """A change of a leaf as the event carries it."""
    leaf = Leaf.unpacked(change.leaf)
    data = b"" if change.centroid is None else np.asarray(change.centroid, dtype="<f2").tobytes()
    return LeafState(
        centroid=base64.b64encode(data).decode(),
        parent=f"{leaf.category}.{leaf.subcategory}",
        size_at=size,
        born_from=None if change.born_from is None else str(Leaf.unpacked(change.born_from)),
        gone=True if change.centroid is None else None,
    )


def leaf_change(leaf: int, state: LeafState) -> LeafChange:
    """The inverse of `leaf_state`."""
    centroid = np.frombuffer(base64.b64decode(state.centroid), dtype="<f2").astype(np.float32)
    born_from = None if state.born_from is None else Leaf.parse(state.born_from).packed()
    return LeafChange(leaf, None if state.gone else centroid, born_from)
