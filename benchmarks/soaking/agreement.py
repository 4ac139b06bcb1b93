"""Whether a shard on disk says exactly what the log says: documents, ids, versions, vectors, trie, counts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.soaking.log_fold import Code, LogDocument, LogFold
from state.document_table import packed_prefix
from state.rows import StoredVector
from state.shard import Shard
from streams.semantic_id import (
    CLUSTER_BITS,
    INSTANCE_BITS,
    SUBCATEGORY_BITS,
    Leaf,
    SemanticId,
)
from streams.settings import Settings

SHOWN = 20


@dataclass
class Comparison:
    """What a replica was found to say. It agrees when `faults` is 0."""

    name: str
    documents: int = 0
    ids: int = 0
    leaves: int = 0
    faults: int = 0
    shown: list[str] = field(default_factory=list)

    def check(self, is_right: bool, what: str) -> None:
        if not is_right:
            self.faults += 1
            if len(self.shown) < SHOWN:
                self.shown.append(what)

    def check_keys(self, found: Iterable[str], expected: Iterable[str], what: str) -> None:
        found, expected = set(found), set(expected)
        self.check(found == expected, f"{what}: {len(found)} and not {len(expected)}, "
                   f"too many {sorted(found - expected)[:3]}, missing {sorted(expected - found)[:3]}")  # fmt: skip

    def figures(self) -> dict[str, Any]:
        return {
            "documents": self.documents,
            "ids": self.ids,
            "leaves": self.leaves,
            "faults": self.faults,
            "shown": self.shown,
        }


def compare_shards(settings: Settings, fold: LogFold) -> list[Comparison]:
    """All shards of all workers; the workers must have stopped. Of an indexer those that have read to the end."""
    found = [
        compare_shard(path.parts[-2], path, fold)
        for path in sorted(settings.data.glob("*/replica"))
        if path.parts[-2].startswith(("searcher", "curator"))
    ]
    for partition in range(settings.partitions):
        paths = sorted(settings.data.glob(f"indexer-*/shards/{partition}"))
        current = [path for path in paths if _is_current(path, fold)]
        found += [
            compare_shard(f"{path.parts[-3]} shard {partition}", path, fold, partition) for path in current
        ]
        if not current:
            found.append(Comparison(f"shard {partition}", faults=1, shown=["no indexer has read to the end"]))
    return found


def _is_current(path: Path, fold: LogFold) -> bool:
    """An indexer keeps the shard of a partition that it gave away; it reads on when it takes it again."""
    partition = int(path.name)
    with Shard.open(path) as shard:
        return shard.position(partition) >= fold.ends.get(partition, 0)


def compare_shard(name: str, path: Path, fold: LogFold, partition: int | None = None) -> Comparison:
    """One shard, closed until now, with what the log says about all partitions, or about one."""
    said, live = Comparison(name), fold.live(partition)
    with Shard.open(path) as shard:
        _compare_positions(said, shard, fold, partition)
        _compare_documents(said, shard, live)
        _compare_deleted(said, shard, fold, partition)
        _compare_tries(said, shard, live)
        _compare_counters(said, shard, fold, partition)
    return said


def _compare_positions(said: Comparison, shard: Shard, fold: LogFold, partition: int | None) -> None:
    for p, end in fold.ends.items():
        if partition in (None, p):
            said.check(
                shard.position(p) == end, f"log position of {p}: {shard.position(p)}, its end is {end}"
            )
    for (epoch, p), documents in fold.completed.items():
        if partition in (None, p):
            completed = shard.completed(epoch).get(p)
            said.check(completed == documents, f"epoch {epoch} complete in {p}: {completed}, not {documents}")


def _compare_documents(said: Comparison, shard: Shard, live: Mapping[str, LogDocument]) -> None:
    keys = []
    for key, ids, document, vectors in shard.documents():
        keys.append(key)
        expected, stored = live.get(key), shard.stored(key)
        if expected is None or stored is None:
            continue
        both = dict(ids) == dict(stored.ids) == expected.ids
        said.check(both, f"{key}: ids {ids} and {stored.ids}, not {expected.ids}")
        said.check(frozenset(stored.retired) == expected.retired, f"{key}: retired ids differ")
        said.check(stored.version == expected.version, f"{key}: version {stored.version}")
        said.check(stored.content_hash == expected.content_hash, f"{key}: content hash differs")
        said.check(document.title == expected.title, f"{key}: title {document.title!r}")
        said.check(dict(document.fields) == expected.fields, f"{key}: fields {document.fields}")
        said.check(_digest(vectors) == expected.vectors, f"{key}: vectors differ")
        said.ids += len(stored.ids)
    said.documents = len(keys)
    said.check_keys(keys, live, "live documents")
    said.check(len(keys) == len(set(keys)), "a document is there twice")
    said.check(shard.count() == len(live), f"counts {shard.count()} documents, the log has {len(live)}")


def _digest(vectors: Iterable[StoredVector]) -> bytes:
    whole = hashlib.sha256()
    for vector in vectors:
        whole.update(f"{vector.stamp}/{vector.kind}/".encode() + vector.array.tobytes())
    return whole.digest()


def _compare_deleted(said: Comparison, shard: Shard, fold: LogFold, partition: int | None) -> None:
    """What outlives a document: its version, and ids that nobody may get again."""
    for key, expected in fold.documents.items():
        if expected.live or partition not in (None, expected.partition):
            continue
        stored = shard.stored(key)
        said.check(stored is not None and stored.deleted, f"{key} is deleted in the log, not here")
        if stored is not None:
            said.check(frozenset(stored.retired) == expected.retired, f"{key}: deleted, retired ids differ")
            said.check(stored.version == expected.version, f"{key}: deleted, version {stored.version}")


def _compare_tries(said: Comparison, shard: Shard, live: Mapping[str, LogDocument]) -> None:
    """Each id leads to its document, and every node counts what is below it; of all epochs."""
    holders: dict[Code, str] = {}
    for key, document in live.items():
        for code in document.ids.items():
            said.check(
                code not in holders, f"{SemanticId.unpacked(code[1])} is {key}'s and {holders.get(code)}'s"
            )
            holders[code] = key
            said.check(shard.document_with(*code) == key, f"{key}: its id of epoch {code[0]} leads elsewhere")
    for epoch in range(max((epoch for epoch, _ in holders), default=0) + 1):
        leaves = Counter(packed >> INSTANCE_BITS for e, packed in holders if e == epoch)
        said.leaves += len(leaves)
        for depth, found in enumerate(_counts(shard, epoch)):
            bits = (SUBCATEGORY_BITS + CLUSTER_BITS, CLUSTER_BITS, 0)[depth]
            expected: Counter[int] = Counter()
            for leaf, count in leaves.items():
                expected[leaf >> bits] += count
            wrong = [p for p in sorted({*found, *expected}) if found.get(p) != expected.get(p)]
            said.check(not wrong, f"epoch {epoch}: {len(wrong)} counts at depth {depth} differ: {wrong[:3]}")


def _counts(shard: Shard, epoch: int) -> list[dict[int, int]]:
    """Documents below each category, subcategory and leaf, by packed prefix, as the nodes of the trie say."""
    counts: list[dict[int, int]] = [{}, {}, {}]
    prefixes: list[tuple[int, ...]] = [()]
    for depth in range(3):
        below = {
            (*prefix, code): count for prefix in prefixes for code, count in shard.children(epoch, prefix)
        }
        counts[depth] = {packed_prefix(path)[0]: count for path, count in below.items()}
        prefixes = list(below)
    return counts


def _compare_counters(said: Comparison, shard: Shard, fold: LogFold, partition: int | None) -> None:
    """The next instance of a leaf is above all that were ever given there, or one would be given again."""
    highest: dict[Code, int] = {}
    for (epoch, packed), key in fold.owners.items():
        if partition in (None, fold.documents[key].partition):
            place = (epoch, packed >> INSTANCE_BITS)
            highest[place] = max(highest.get(place, -1), packed & (1 << INSTANCE_BITS) - 1)
    for (epoch, leaf), instance in highest.items():
        following = shard.next_instance(epoch, Leaf.unpacked(leaf))
        said.check(
            following > instance, f"leaf {Leaf.unpacked(leaf)} of epoch {epoch} would give {instance} again"
        )
