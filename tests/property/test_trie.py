"""The live trie against a dictionary, and readers beside its writer."""

from __future__ import annotations

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.beam import decode
from state.trie import LiveTrie

SIZES = (3, 4, 5, 6)
ids = st.tuples(*(st.integers(0, size - 1) for size in SIZES))
changes = st.lists(
    st.tuples(st.sampled_from(["insert", "delete", "move"]), st.lists(ids, min_size=1, max_size=6)),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(changes=changes)
def test_the_trie_is_a_dictionary(changes: list[tuple[str, list[tuple[int, ...]]]]) -> None:
    trie, twin = LiveTrie(SIZES), {}
    for number, (what, some) in enumerate(changes):
        if what != "insert":
            assert trie.delete(np.array(some)) == len(
                {each for each in some if twin.pop(each, None) is not None}
            )
        if what != "delete":
            some = some[::-1]
            new = {each for each in some if each not in twin}
            assert trie.insert(np.array(some), np.arange(len(some)) + number) == len(new)
            twin.update({each: number + i for i, each in enumerate(some)})
        assert len(trie) == len(twin)
    codes, values = trie.items()
    assert [tuple(row) for row in codes.tolist()] == sorted(twin)
    assert values.tolist() == [twin[each] for each in sorted(twin)]
    for length in range(4):
        for prefix in {each[:length] for each in [*twin, (0, 0, 0, 0)]}:
            below: dict[int, int] = {}
            for each in twin:
                if each[:length] == prefix:
                    below[each[length]] = below.get(each[length], 0) + 1
            found, counts = trie.children(prefix)
            assert dict(zip(found.tolist(), counts.tolist(), strict=True)) == below
            assert trie.count(prefix) == sum(below.values())


def test_readers_beside_a_writer_find_only_ids_that_were_live_and_none_twice() -> None:
    """Ids with an even last code stay; the others come and go. Every id found is one of these, once."""
    random = np.random.default_rng(0)
    sizes = (8, 16, 32, 64)
    ids = np.unique(np.stack([random.integers(0, size, 6_000) for size in sizes], axis=1), axis=0)
    stays = ids[:, 3] % 2 == 0
    number = {tuple(row): i for i, row in enumerate(ids.tolist())}
    trie, done, faults = LiveTrie(sizes), threading.Event(), []
    trie.insert(ids[stays], np.flatnonzero(stays))
    even = [np.zeros((1, size), dtype=np.float32) for size in sizes]
    even[3][:, 1::2] = -50.0  # those that stay are better: the beam is wide enough for all of them

    def read() -> None:
        while not done.is_set():
            found = decode(trie, even, beam=int(stays.sum()) + 400)
            rows = [tuple(row) for row in found.codes[0, : found.counts[0]].tolist()]
            if len(set(rows)) != len(rows):
                faults.append("an id came twice")
            if [number.get(row) for row in rows] != found.values[0, : found.counts[0]].tolist():
                faults.append("an id or its value never was")
            if sum(row[3] % 2 == 0 for row in rows) != stays.sum():
                faults.append("an id that was live all the time was missed")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    going, values = ids[~stays], np.flatnonzero(~stays)
    for _ in range(150):
        some = random.permutation(len(going))[:800]
        trie.insert(going[some], values[some])
        trie.delete(going[random.permutation(some)])
    done.set()
    for reader in readers:
        reader.join()
    assert faults == []
    assert len(trie) == stays.sum()
