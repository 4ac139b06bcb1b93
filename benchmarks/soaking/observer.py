"""A live index in the soak's own process that follows both logs as a searcher does, and is never killed.

What a searcher tells by answers alone can be looked at here: the live trie, the postings, the ids of every epoch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from agents.codebook_log import CodebookLog
from agents.content_store import ContentStore
from agents.replica import Replica, wait_until_ready
from agents.sensors import Sensor
from agents.trees import IndexTrees
from benchmarks.soaking.agreement import Comparison
from benchmarks.soaking.log_fold import LogDocument, LogFold
from models.encoders.registry import describe_encoder
from state.live_documents import live_changes
from state.live_index import LiveIndex
from state.records import LogRecord
from state.shard import Shard
from state.warm_up import warm_up
from streams.semantic_id import INSTANCE_BITS, Leaf
from streams.settings import Settings

REPAIRS_PER_RECORD = 4


class Observer:
    """A context manager; the index is that of `index` at any time."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        encoder = describe_encoder(settings.encoder)
        warm_up()
        self._stamp = encoder.stamp
        self.index = LiveIndex(encoder.dimension)
        self._shard = Shard.open(folder / "replica")
        self.codebooks = CodebookLog(
            settings, ContentStore(settings.content_store), stamp=encoder.stamp, keeper=IndexTrees(self.index)
        )
        self.replica = Replica(
            settings, self._shard, sensor=Sensor(), on_records=self._take, on_advance=self._switch
        )

    def __enter__(self) -> Self:
        self.codebooks.start()
        self.index.activate(0)
        self.replica.start()
        wait_until_ready(self.replica, timeout_s=60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.replica.stop()
        self.codebooks.stop()
        self._shard.close()

    def check(self) -> None:
        """Raise what keeps it from following."""
        failure = self.replica.failure or self.codebooks.failure
        if failure is not None:
            raise RuntimeError("the log cannot be followed") from failure

    def is_switched(self) -> bool:
        """Whether the newest tree is the one that serves here."""
        known = self.codebooks.current
        return known.newest <= known.active == self.index.active_epoch

    def compare(self, fold: LogFold) -> Comparison:
        """The whole of it against the log. Nothing may come in meanwhile."""
        said, live = Comparison("live index beside the searchers"), fold.live()
        held = {document_id: slot for slot, document_id in self.index.items()}
        said.documents = len(held)
        said.check(len(held) == len(self.index), "a document is there twice")
        said.check(len(set(held.values())) == len(held), "two documents in one slot")
        said.check_keys(held, live, "live documents")
        said.check(self.index.active_epoch == fold.active, f"serves epoch {self.index.active_epoch}")
        for epoch in self.index.epochs():
            self._compare_path(said, epoch, held, live)
        return said

    def _compare_path(
        self, said: Comparison, epoch: int, held: Mapping[str, int], live: Mapping[str, LogDocument]
    ) -> None:
        path = self.index.path(epoch)
        expected = {key: document.ids[epoch] for key, document in live.items() if epoch in document.ids}
        for key, packed in expected.items():
            slot = held.get(key)
            if slot is not None:
                found = self.index.id_of(slot, epoch)
                said.check(found == packed, f"{key}: id {found} in epoch {epoch}, not {packed}")
                said.check(path.leaf_of(slot) == packed >> INSTANCE_BITS, f"{key}: posted in another leaf")
                said.ids += 1
        counts = Counter(packed >> INSTANCE_BITS for packed in expected.values())
        leaves, sizes = path.sizes()
        said.leaves += len(leaves)
        found_counts = dict(zip(leaves.tolist(), sizes.tolist(), strict=True))
        said.check(found_counts == dict(counts), f"epoch {epoch}: leaf counts differ")
        self._compare_members(said, epoch, held, expected)

    def _compare_members(
        self, said: Comparison, epoch: int, held: Mapping[str, int], expected: Mapping[str, int]
    ) -> None:
        """The postings of each leaf, and the leaf in the live trie that beams walk."""
        path = self.index.path(epoch)
        members: dict[int, list[int]] = {}
        for key, packed in expected.items():
            members.setdefault(packed >> INSTANCE_BITS, []).append(held.get(key, -1))
        for packed, slots in members.items():
            leaf = Leaf.unpacked(packed)
            said.check(tuple(leaf) in path.live, f"leaf {leaf} of epoch {epoch} is not in the live trie")
            found = path.below(leaf)
            said.check(np.array_equal(found, np.sort(slots)), f"leaf {leaf} of epoch {epoch}: others posted")

    def _take(self, records: Sequence[LogRecord], timestamps: Mapping[tuple[int, int], int]) -> None:
        self.index.apply(live_changes(records, stamp=self._stamp, timestamps=timestamps))
        self.index.repair(REPAIRS_PER_RECORD * len(records))

    def _switch(self) -> None:
        known = self.codebooks.current
        if known.active != self.index.active_epoch and self.replica.has(known.switch_at):
            self.index.activate(known.active)
            for epoch in self.index.epochs() - set(known.live_epochs()):
                self.index.forget_epoch(epoch)
