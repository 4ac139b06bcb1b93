"""Which keys of `codebooks` belong to epochs that are over: deleted, else the compacted topic would only grow.

What stands in the topic is all there is to know: a curator that was killed between two deletes goes on from there.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain, islice

from streams.events.codebooks import epoch_key, leaf_key, parse_key
from streams.records import Record


class RetiredKeys:
    """The keys that stand in `codebooks` by epoch. `note` runs on the thread of the codebook log."""

    def __init__(self) -> None:
        self._epochs: set[int] = set()
        self._leaves: dict[int, set[int]] = {}

    def note(self, record: Record) -> None:
        """A record, or the latest of its key."""
        epoch, leaf = parse_key(record.key or b"")
        if epoch is None:
            return
        known = self._epochs if leaf is None else self._leaves.setdefault(epoch, set())
        (known.discard if record.value is None else known.add)(epoch if leaf is None else leaf)

    def trees(self, live: Collection[int]) -> list[str]:
        """Keys of trees of epochs that are not live."""
        return [epoch_key(epoch) for epoch in sorted(self._epochs) if epoch not in live]

    def parts(self, live: Collection[int], *, most: int) -> list[str]:
        """At most so many keys of the parts of trees of epochs that are not live."""
        over = sorted(epoch for epoch in self._leaves if epoch not in live)
        keys = chain.from_iterable(
            (leaf_key(epoch, leaf) for leaf in sorted(self._leaves[epoch])) for epoch in over
        )
        return list(islice(keys, most))
