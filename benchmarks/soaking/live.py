"""What a searcher holds in memory, asked from outside: every leaf with its documents and ids, and all counts."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from benchmarks.soaking.agreement import Comparison
from benchmarks.soaking.log_fold import LogFold
from benchmarks.soaking.tail import Tail
from streams.clients import producer
from streams.headers import DEADLINE, now_ms
from streams.partitioner import partition_of
from streams.records import Record
from streams.semantic_id import INSTANCE_BITS, LEVEL_SIZES, Leaf, SemanticId
from streams.settings import Settings

AT_ONCE = 32
PATIENCE_S = 120.0
_MOST = 1_000


class Interview:
    """Asks the searcher that holds a partition of `queries`. A context manager."""

    def __init__(self, settings: Settings, partition: int, *, read_after: Mapping[int, int]) -> None:
        self._settings = settings
        self._partition = partition
        self._read_after = [{"partition": p, "offset": end - 1} for p, end in read_after.items()]
        self._producer = producer(settings)
        self._answers: dict[str, dict[str, Any]] = {}
        self._arrived = threading.Condition()
        self._tail = Tail(settings, "results", self._take)

    def __enter__(self) -> Interview:
        self._tail.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._tail.__exit__(*exception)

    def ask_all(self, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The answers in the order of the queries. Raises SystemExit when one does not come."""
        answers = []
        for first in range(0, len(bodies), AT_ONCE):
            names = [self._send(body) for body in bodies[first : first + AT_ONCE]]
            answers += [self._answer(name) for name in names]
        return answers

    def _send(self, body: dict[str, Any]) -> str:
        name = str(uuid.uuid4())
        while partition_of(name.encode(), self._settings.partitions) != self._partition:
            name = str(uuid.uuid4())
        deadline = str(now_ms() + int(PATIENCE_S * 1_000)).encode()
        value = orjson.dumps({**body, "read_after": self._read_after})
        self._producer.produce(
            self._settings.topic("queries"), key=name, value=value, headers=[(DEADLINE, deadline)]
        )
        self._producer.poll(0)
        return name

    def _answer(self, name: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        self._producer.flush(10.0)
        with self._arrived:
            while name not in self._answers:
                self._tail.check()
                if not self._arrived.wait(1.0) and time.monotonic() > deadline:
                    raise SystemExit(f"no answer to query {name} in partition {self._partition}")
            return self._answers.pop(name)

    def _take(self, record: Record) -> None:
        if record.partition != self._partition:
            return
        with self._arrived:
            self._answers[(record.key or b"").decode()] = orjson.loads(record.value or b"{}")
            self._arrived.notify_all()


def compare_live(settings: Settings, fold: LogFold, *, name: str, partition: int) -> Comparison:
    """All documents and ids of the active epoch, leaf by leaf, and the counts of all branches."""
    said = Comparison(name)
    expected = {key: d.ids[fold.active] for key, d in fold.live().items() if fold.active in d.ids}
    said.check_keys(expected, fold.live(), "documents with an id in the active epoch")
    leaves = sorted({packed >> INSTANCE_BITS for packed in expected.values()})
    with Interview(settings, partition, read_after=fold.ends) as interview:
        _compare_branches(said, interview, Counter(packed >> INSTANCE_BITS for packed in expected.values()))
        asked = [
            {
                "text": "all",
                "mode": "dense",
                "top_k": _MOST,
                "filter": {"id_prefix": str(Leaf.unpacked(leaf))},
            }
            for leaf in leaves
        ]
        found: dict[str, int] = {}
        for leaf, answer in zip(leaves, interview.ask_all(asked), strict=True):
            said.check(not answer.get("error"), f"leaf {Leaf.unpacked(leaf)}: {answer.get('error')}")
            said.check(answer.get("epoch") == fold.active, f"serves epoch {answer.get('epoch')}")
            read = answer.get("codebook_offset", -1)  # the end may be a commit marker
            said.check(read >= fold.codebook_end, f"codebooks read to {read}, not {fold.codebook_end}")
            for hit in answer.get("hits") or []:
                said.check(hit["document_id"] not in found, f"{hit['document_id']} is in two leaves")
                found[hit["document_id"]] = SemanticId.parse(hit["semantic_id"]).packed()
    said.documents, said.ids, said.leaves = len(found), len(set(found.values())), len(leaves)
    said.check_keys(found, expected, "live documents")
    other = [key for key in found.keys() & expected.keys() if found[key] != expected[key]]
    said.check(not other, f"{len(other)} documents with another id: {other[:3]}")
    return said


def _compare_branches(said: Comparison, interview: Interview, counts: Counter[int]) -> None:
    _, subcategories, clusters, _ = LEVEL_SIZES
    [root] = interview.ask_all([{"browse": {"depth": 1, "examples": 0}}])
    below: Counter[int] = Counter()
    for leaf, count in counts.items():
        below[leaf // (subcategories * clusters)] += count
    found = {int(branch["prefix"]): branch["documents"] for branch in root.get("branches") or []}
    said.check(found == dict(below), f"categories: {found}, not {dict(below)}")
    above = sorted({leaf // clusters for leaf in counts})
    asked = [
        {"browse": {"prefix": f"{prefix // subcategories}.{prefix % subcategories}", "examples": 0}}
        for prefix in above
    ]
    of_leaves: dict[str, int] = {}
    for answer in interview.ask_all(asked):
        branches = answer.get("branches") or []
        said.check(len(branches) < _MOST, "a subcategory has too many branches to be counted")
        of_leaves |= {b["prefix"]: b["documents"] for b in branches if b["prefix"].count(".") == 2}
    expected = {str(Leaf.unpacked(leaf)): count for leaf, count in counts.items()}
    said.check(of_leaves == expected, f"counts of leaves: {len(of_leaves)}, not {len(expected)}, or others")
