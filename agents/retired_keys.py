"""Which keys of `codebooks` belong to epochs that are over: deleted, else the compacted topic would only grow.

What stands in the topic is all there is to know: a curator that was killed between two deletes goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain, islice

from streams.events.codebooks import epoch_key, leaf_key, parse_key, part_key
from streams.records import Record


class RetiredKeys:
    """The keys that stand in `codebooks` by epoch. `note` runs on the thread of the codebook log."""

    def __init__(self) -> None:
        self._epochs: set[int] = set()
        self._leaves: dict[int, set[int]] = {}
        self._parts: dict[int, set[int]] = {}

    def note(self, record: Record) -> None:
        """A record of the topic; of each key the latest counts."""
        key = parse_key(record.key or b"")
        if key.epoch is None:
            return
        known, number = self._epochs, key.epoch
        if key.leaf is not None:
            known, number = self._leaves.setdefault(key.epoch, set()), key.leaf
        elif key.part is not None:
            known, number = self._parts.setdefault(key.epoch, set()), key.part
        (known.discard if record.value is None else known.add)(number)

    def trees(self, live: Collection[int]) -> list[str]:
        """Keys of trees of epochs that are not live."""
        return [epoch_key(epoch) for epoch in sorted(self._epochs) if epoch not in live]

    def rest(self, live: Collection[int], *, most: int) -> list[str]:
        """At most so many keys of leaves and parts of the trees of epochs that are not live."""
        keys = chain(_keys(self._parts, part_key, live), _keys(self._leaves, leaf_key, live))
        return list(islice(keys, most))


def _keys(
    known: Mapping[int, set[int]], key: Callable[[int, int], str], live: Collection[int]
) -> Iterator[str]:
    for epoch in sorted(known.keys() - set(live)):
        yield from (key(epoch, number) for number in sorted(known[epoch]))
