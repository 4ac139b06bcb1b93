"""The live trie: the ids that exist, for decoding that can walk nothing else.

Changed in place by one writer, walked by any number of readers without locks: an id is found by the next
search after `insert` returns, and by none after `delete` has returned. Usable alone: arrays in, ids out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from state.compiled import Scalar, compiled, observe, publish
from state.lists import COUNT_BITS, COUNT_MASK, Arrays, Lists, append, find, grown, has_room, remove_at
from state.readers import Readers, Retired

Codes = NDArray[np.int64]
"""Ids as rows of codes, shape (n, depth)."""
Numbers = NDArray[np.int64]

VALUE_BITS = 40
"""An entry of a node's list of children: code << 40 | child, which is a node, or at the last level a value."""
VALUE_MASK = (1 << VALUE_BITS) - 1
ROOT = 0
_CODE_BITS = 24
_EMPTY, _GONE, _MISSING = -1, -2, -1
_NODES, _HASHED, _FREE, _DROPPED = 0, 1, 2, 3
"""Places in `counters`: nodes ever made, used places of `keys`, length of `free`, length of `dropped`."""


class TrieArrays(NamedTuple):
    """What the compiled functions work on."""

    children: Arrays
    """Lists of children by node. In order of insertion; not sorted."""
    live: NDArray[np.int32]
    """By node: how many ids are below."""
    keys: Numbers
    """Open addressing from (node, code) to node, for all levels but the last."""
    nodes: NDArray[np.int32]
    free: NDArray[np.int32]
    dropped: NDArray[np.int32]
    counters: Numbers


class LiveTrie:
    """Ids of fixed length, each with a value (below 2^40). One writer; readers never wait.

    level_sizes: how many codes each level has (at most 2^24). Hold `readers.reading()` around calls that use
    `arrays` directly.
    """

    def __init__(self, level_sizes: Sequence[int], *, readers: Readers | None = None) -> None:
        if not level_sizes or not all(0 < size <= 1 << _CODE_BITS for size in level_sizes):
            raise ValueError(f"a level has 1 to {1 << _CODE_BITS:,} codes, not {list(level_sizes)}")
        self.level_sizes = tuple(int(size) for size in level_sizes)
        self.readers = readers or Readers()
        self._children = Lists(self.readers)
        self._dropped: Retired[NDArray[np.int32]] = Retired(self.readers)
        room = len(self._children.arrays.extents)
        self.arrays = TrieArrays(
            children=self._children.arrays,
            live=np.zeros(room, dtype=np.int32),
            keys=np.full(2 * room, _EMPTY, dtype=np.int64),
            nodes=np.zeros(2 * room, dtype=np.int32),
            free=np.zeros(room, dtype=np.int32),
            dropped=np.zeros(room, dtype=np.int32),
            counters=np.array([1, 0, 0, 0], dtype=np.int64),
        )

    @property
    def depth(self) -> int:
        return len(self.level_sizes)

    def insert(self, codes: Codes, values: Numbers | None = None) -> int:
        """Put in ids (n, depth), or one (depth,); returns how many were new.

        An id that is there gets the new value. Raises ValueError for a code or a value out of its range; nothing
        is put in then.
        """
        codes = self._checked(codes)
        values = (
            np.zeros(len(codes), dtype=np.int64) if values is None else np.atleast_1d(values).astype(np.int64)
        )
        if values.shape != (len(codes),) or (
            len(values) and not 0 <= values.min() <= values.max() <= VALUE_MASK
        ):
            raise ValueError(f"each id needs one value from 0 to {VALUE_MASK}")
        done, new = 0, 0
        while done < len(codes):
            self._make_room()
            done, added = _insert(self.arrays, codes, values, done)
            new += added
        return new

    def delete(self, codes: Codes) -> int:
        """Take out ids; returns how many were there. Branches without ids are gone at once."""
        codes = self._checked(codes)
        done, gone = 0, 0
        while done < len(codes):
            self._make_room()
            done, removed = _delete(self.arrays, codes, done)
            gone += removed
        return gone

    def node(self, prefix: Sequence[int]) -> int | None:
        """The node of up to depth - 1 codes, None when no live id starts so. Use it while reading."""
        if not all(0 <= code < size for code, size in zip(prefix, self.level_sizes, strict=False)):
            return None
        node = _walk(self.arrays, np.asarray(prefix, dtype=np.int64))
        return None if node == _MISSING else int(node)

    def children(self, prefix: Sequence[int] = ()) -> tuple[Numbers, Numbers]:
        """Codes that may follow `prefix`, ascending, and for each the number of ids below (the last level: 1)."""
        with self.readers.reading():
            arrays, node = self.arrays, self.node(prefix)
            if node is None:
                return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
            entries = np.sort(_entries(arrays, node))
            below = entries & VALUE_MASK
            is_last = len(prefix) == self.depth - 1
            counts = np.ones(len(below), dtype=np.int64) if is_last else arrays.live[below].astype(np.int64)
            return entries >> VALUE_BITS, counts

    def count(self, prefix: Sequence[int] = ()) -> int:
        """How many ids start with `prefix`."""
        if len(prefix) == self.depth:
            return int(self.value(prefix) is not None)
        with self.readers.reading():
            node = self.node(prefix)
            return 0 if node is None else int(self.arrays.live[node])

    def value(self, codes: Sequence[int]) -> int | None:
        """The value of an id, None when it is not there."""
        with self.readers.reading():
            node = self.node(codes[:-1])
            if node is None:
                return None
            entries = _entries(self.arrays, node)
            found = entries[entries >> VALUE_BITS == codes[-1]]
            return int(found[0] & VALUE_MASK) if len(found) else None

    def items(self) -> tuple[Codes, Numbers]:
        """All ids (n, depth), in order, and their values (n,). For the writer, or while it rests."""
        codes = np.empty((len(self), self.depth), dtype=np.int64)
        values = np.empty(len(codes), dtype=np.int64)
        _collect(self.arrays, codes, values)
        order = np.lexsort(codes.T[::-1])
        return codes[order], values[order]

    def to_bytes(self) -> bytes:
        """A snapshot, as safetensors. For the writer, or while it rests."""
        codes, values = self.items()
        arrays = {
            "level_sizes": np.array(self.level_sizes, dtype=np.int64),
            "codes": codes.astype(np.int32),
            "values": values,
        }
        data: bytes = safetensors.save(arrays)
        return data

    @classmethod
    def from_bytes(cls, data: bytes, *, readers: Readers | None = None) -> LiveTrie:
        """The inverse of `to_bytes`. Raises ValueError when the bytes are damaged."""
        try:
            arrays = safetensors.load(data)
            trie = cls(arrays["level_sizes"].tolist(), readers=readers)
            trie.insert(arrays["codes"].astype(np.int64), arrays["values"])
        except (KeyError, SafetensorError) as error:
            raise ValueError(f"this is no snapshot of a trie: {error}") from error
        return trie

    def __len__(self) -> int:
        return int(self.arrays.live[ROOT])

    def __contains__(self, codes: Sequence[int]) -> bool:
        return len(codes) == self.depth and self.value(codes) is not None

    @property
    def nbytes(self) -> int:
        """Bytes of memory that hold something."""
        arrays = self.arrays
        by_node = int(arrays.counters[_NODES]) * (arrays.live.itemsize + arrays.free.itemsize)
        return self._children.nbytes + by_node + arrays.keys.nbytes + arrays.nodes.nbytes

    def _checked(self, codes: Codes) -> Codes:
        codes = np.atleast_2d(np.asarray(codes, dtype=np.int64))
        if codes.ndim != 2 or codes.shape[1] != self.depth:
            raise ValueError(f"ids of this trie have {self.depth} codes; given: shape {codes.shape}")
        if len(codes) and (codes.min() < 0 or (codes >= self.level_sizes).any()):
            raise ValueError(f"a code is out of its range: the levels have {self.level_sizes} codes")
        return np.ascontiguousarray(codes)

    def _make_room(self) -> None:
        self._collect_nodes()
        arrays = self.arrays
        room = len(arrays.live)
        if arrays.counters[_NODES] - arrays.counters[_FREE] + self.depth > room:
            room *= 2
        self._children.make_room(lists=room, steps=2 * self.depth)
        is_full = 3 * (arrays.counters[_HASHED] + self.depth) > 2 * len(arrays.keys)
        if self._children.arrays is not arrays.children or room > len(arrays.live) or is_full:
            used = int(np.count_nonzero(arrays.keys >= 0)) if is_full else 0
            self._grow(room, _places_for(3 * used + 4 * self.depth) if is_full else len(arrays.keys))

    def _grow(self, room: int, places: int) -> None:
        """All arrays anew: a reader goes on with the old ones, which nobody changes any more."""
        old = self.arrays
        keys, nodes = np.full(places, _EMPTY, dtype=np.int64), np.zeros(places, dtype=np.int32)
        counters = old.counters.copy()
        counters[_HASHED] = _rehash(old.keys, old.nodes, keys, nodes)
        self.arrays = TrieArrays(
            children=self._children.arrays,
            live=grown(old.live, room, 0),
            keys=keys,
            nodes=nodes,
            free=grown(old.free, room, 0),
            dropped=grown(old.dropped, room, 0),
            counters=counters,
        )

    def _collect_nodes(self) -> None:
        arrays = self.arrays
        dropped = int(arrays.counters[_DROPPED])
        if dropped:
            self._dropped.add(arrays.dropped[:dropped].copy())
            arrays.counters[_DROPPED] = 0
        for nodes in self._dropped.free():
            free = int(arrays.counters[_FREE])
            arrays.free[free : free + len(nodes)] = nodes
            arrays.counters[_FREE] = free + len(nodes)


def _places_for(count: int) -> int:
    return 1 << max(7, (count - 1).bit_length())


@compiled
def _hash(node: Scalar, code: Scalar, places: Scalar) -> Scalar:
    key = np.uint64(node << _CODE_BITS | code) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(key >> np.uint64(20)) & (places - 1)


@compiled
def child(arrays: TrieArrays, node: Scalar, code: Scalar) -> Scalar:
    """The node below `node` by `code`, -1 when there is none. Not for the last level."""
    key = np.int64(node) << _CODE_BITS | code
    at = _hash(node, code, len(arrays.keys))
    while True:
        found = observe(arrays.keys, at)
        if found == key:
            return np.int64(arrays.nodes[at])
        if found == -1:
            return -1
        at = at + 1 & len(arrays.keys) - 1


@compiled
def _link(arrays: TrieArrays, node: Scalar, code: Scalar, below: Scalar) -> None:
    # A place that was given up is not used again before all are moved: a reader may stand between its
    # key and its node.
    at = _hash(node, code, len(arrays.keys))
    while arrays.keys[at] != -1:
        at = at + 1 & len(arrays.keys) - 1
    arrays.nodes[at] = below
    publish(arrays.keys, at, np.int64(node) << _CODE_BITS | code)
    arrays.counters[1] += 1


@compiled
def _unlink(arrays: TrieArrays, node: Scalar, code: Scalar) -> None:
    key = np.int64(node) << _CODE_BITS | code
    at = _hash(node, code, len(arrays.keys))
    while arrays.keys[at] != key:
        at = at + 1 & len(arrays.keys) - 1
    publish(arrays.keys, at, -2)


@compiled
def _rehash(
    old_keys: Numbers, old_nodes: NDArray[np.int32], keys: Numbers, nodes: NDArray[np.int32]
) -> Scalar:
    used = 0
    for i in range(len(old_keys)):
        key = old_keys[i]
        if key >= 0:
            at = _hash(key >> _CODE_BITS, key & (1 << _CODE_BITS) - 1, len(keys))
            while keys[at] != -1:
                at = at + 1 & len(keys) - 1
            keys[at] = key
            nodes[at] = old_nodes[i]
            used += 1
    return used


@compiled
def _walk(arrays: TrieArrays, prefix: Numbers) -> Scalar:
    node = 0
    for code in prefix:
        node = child(arrays, node, code)
        if node < 0:
            return -1
    return node


@compiled
def _entries(arrays: TrieArrays, node: Scalar) -> Numbers:
    extent = observe(arrays.children.extents, node)
    offset = extent >> COUNT_BITS
    return arrays.children.pool[offset : offset + (extent & COUNT_MASK)].copy()


@compiled
def _has_room(arrays: TrieArrays, depth: Scalar) -> Scalar:
    counters = arrays.counters
    nodes = counters[0] + depth <= len(arrays.live) or counters[2] >= depth
    return nodes and 3 * (counters[1] + depth) <= 2 * len(arrays.keys) and has_room(arrays.children, depth)


@compiled
def _new_node(arrays: TrieArrays) -> Scalar:
    if arrays.counters[2]:
        arrays.counters[2] -= 1
        node = np.int64(arrays.free[arrays.counters[2]])
    else:
        node = arrays.counters[0]
        arrays.counters[0] += 1
    arrays.live[node] = 0
    return node


@compiled
def _insert(arrays: TrieArrays, codes: Codes, values: Numbers, first: Scalar) -> tuple[Scalar, Scalar]:
    """Put in ids from `first` on while there is room: (where it stopped, how many were new)."""
    depth = codes.shape[1]
    path = np.empty(depth, dtype=np.int64)
    new = 0
    for i in range(first, len(codes)):
        if not _has_room(arrays, depth):
            return i, new
        # From the bottom up would hide nothing: a node is linked into its parent when all below stands.
        level, node = 0, 0
        path[0] = 0
        while level < depth - 1:
            below = child(arrays, node, codes[i, level])
            if below < 0:
                break
            level += 1
            node = below
            path[level] = node
        if level == depth - 1:
            position = find(arrays.children, node, codes[i, level], VALUE_BITS)
            if position >= 0:
                offset = arrays.children.extents[node] >> COUNT_BITS
                publish(arrays.children.pool, offset + position, codes[i, level] << VALUE_BITS | values[i])
                continue
        _grow_branch(arrays, codes[i], values[i], level, path)
        for at in path:
            arrays.live[at] += 1
        new += 1
    return len(codes), new


@compiled
def _grow_branch(arrays: TrieArrays, codes: Numbers, value: Scalar, level: Scalar, path: Numbers) -> None:
    """Add what is missing below `path[level]`, the lowest part first, so that no reader meets a bare node."""
    depth = len(codes)
    for missing in range(level + 1, depth):
        path[missing] = _new_node(arrays)
    entry = codes[depth - 1] << VALUE_BITS | value
    for at in range(depth - 1, level, -1):
        append(arrays.children, path[at], entry)
        _link(arrays, path[at - 1], codes[at - 1], path[at])
        entry = codes[at - 1] << VALUE_BITS | path[at]
    append(arrays.children, path[level], entry)


@compiled
def _delete(arrays: TrieArrays, codes: Codes, first: Scalar) -> tuple[Scalar, Scalar]:
    """Take out ids from `first` on while there is room: (where it stopped, how many were there)."""
    depth = codes.shape[1]
    path = np.zeros(depth, dtype=np.int64)
    gone = 0
    for i in range(first, len(codes)):
        if not _has_room(arrays, depth) or arrays.counters[3] + depth > len(arrays.dropped):
            return i, gone
        node = 0
        for level in range(depth - 1):
            node = child(arrays, node, codes[i, level])
            if node < 0:
                break
            path[level + 1] = node
        if node < 0:
            continue
        position = find(arrays.children, node, codes[i, depth - 1], VALUE_BITS)
        if position < 0:
            continue
        for at in path:
            arrays.live[at] -= 1
        _prune(arrays, codes[i], path, position)
        gone += 1
    return len(codes), gone


@compiled
def _prune(arrays: TrieArrays, codes: Numbers, path: Numbers, position: Scalar) -> None:
    """Take the id out of the lowest list, and branches that hold nothing any more out of those above."""
    level = len(codes) - 1
    while level > 0 and arrays.live[path[level]] == 0:
        level -= 1
    if level < len(codes) - 1:  # one cut takes all below it away from readers
        position = find(arrays.children, path[level], codes[level], VALUE_BITS)
    remove_at(arrays.children, path[level], position)
    for below in range(level + 1, len(codes)):
        node = path[below]
        _unlink(arrays, path[below - 1], codes[below - 1])
        remove_at(arrays.children, node, 0)
        arrays.dropped[arrays.counters[3]] = node
        arrays.counters[3] += 1


@compiled
def _collect(arrays: TrieArrays, codes: Codes, values: Numbers) -> None:
    depth = codes.shape[1]
    nodes, places = np.zeros(depth, dtype=np.int64), np.zeros(depth, dtype=np.int64)
    path = np.zeros(depth, dtype=np.int64)
    level, found = 0, 0
    while level >= 0:
        extent = arrays.children.extents[nodes[level]]
        if places[level] == extent & COUNT_MASK:
            level -= 1
            continue
        entry = arrays.children.pool[(extent >> COUNT_BITS) + places[level]]
        places[level] += 1
        path[level] = entry >> VALUE_BITS
        if level == depth - 1:
            codes[found] = path
            values[found] = entry & VALUE_MASK
            found += 1
        else:
            level += 1
            nodes[level] = entry & VALUE_MASK
            places[level] = 0
