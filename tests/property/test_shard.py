"""A shard against a dictionary, under random histories of changes, deletes, epochs, crashes and replays."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state.allocation import Allocator
from state.records import LogRecord
from state.shard import Shard
from streams.semantic_id import Leaf, SemanticId
from tests.log_records import assigned, assignment_of, deleted

LEAVES = [Leaf(0, 0, 0), Leaf(0, 0, 1), Leaf(0, 3, 0), Leaf(2, 0, 4095), Leaf(15, 255, 4095)]
KEYS = ["a", "b", "ä", "a\x00", "zz"]
EPOCHS = [1, 2]

operations = st.one_of(
    st.tuples(st.just("assign"), st.sampled_from(KEYS), st.sampled_from(LEAVES)),
    st.tuples(st.just("delete"), st.sampled_from(KEYS), st.none()),
    st.tuples(st.just("new epoch"), st.sampled_from(KEYS), st.sampled_from(LEAVES)),
)
endings = st.sampled_from(["applied", "killed before the write", "killed before publishing", "replayed"])
histories = st.lists(st.tuples(st.lists(operations, max_size=6), endings), max_size=8)


class Owner:
    """The owner of a partition in a few lines: allocates, publishes to a log in memory, applies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log: list[LogRecord] = []
        self.twin: dict[str, dict[int, int]] = {}
        self.start()

    def start(self) -> None:
        self.shard = Shard.open(self.path)
        self.shard.apply(self.log[self.shard.position(0) :])
        self.allocator = Allocator(self.shard, partition=1, partitions=4)

    def restart(self) -> None:
        self.shard.close()
        self.start()

    def batch(self, steps: list[tuple[str, str, Leaf | None]], ending: str) -> None:
        twin, records, retired = dict(self.twin), [], self.retired()
        for operation, key, leaf in steps:
            ids = twin.get(key, {})
            if operation == "delete":
                new: dict[int, int] = {}
            else:
                assert leaf is not None
                epoch = max(ids, default=1) if operation == "assign" else 2
                new = {**ids, epoch: self.allocator.allocate(epoch, [leaf]).packed()}
            retired[key] = retired[key] | (ids.items() - new.items())
            offset = len(self.log) + len(records)
            if new:
                assignment = assignment_of(
                    new, retired=sorted(retired[key]), title=f"{key} {offset}", source_offset=offset
                )
                records.append(assigned(key, assignment, offset=offset))
            else:
                gone = tuple(sorted(retired[key] - ids.items()))
                records.append(deleted(key, ids, retired=gone, offset=offset, source_offset=offset))
            twin[key] = new
        self.finish(records, twin, ending)

    def finish(self, records: list[LogRecord], twin: dict[str, dict[int, int]], ending: str) -> None:
        if ending == "killed before publishing":
            self.restart()
            return
        self.log += records
        self.twin = twin
        if ending == "killed before the write":
            self.restart()
            return
        self.shard.apply(records)
        if ending == "replayed":
            self.shard.apply(self.log)

    def retired(self) -> dict[str, set[tuple[int, int]]]:
        found: dict[str, set[tuple[int, int]]] = defaultdict(set)
        for key in KEYS:
            stored = self.shard.stored(key)
            found[key] = set(stored.retired) if stored else set()
        return found


def check_against_the_twin(shard: Shard, twin: dict[str, dict[int, int]]) -> None:
    live = {key: ids for key, ids in twin.items() if ids}
    assert {key: dict(stored.ids) for key, stored in shard.scan()} == live
    assert shard.count() == len(live)
    for epoch in EPOCHS:
        codes = {ids[epoch]: key for key, ids in live.items() if epoch in ids}
        assert {code: shard.document_with(epoch, code) for code in codes} == codes
        for level in range(4):
            expected = Counter(SemanticId.unpacked(code)[: level + 1] for code in codes)
            for path in {full[:level] for full in expected} | {(), (1,), (0, 0, 0)}:
                if len(path) == level:
                    below = sorted((full[-1], n) for full, n in expected.items() if full[:level] == path)
                    assert shard.children(epoch, path) == below
    for key in KEYS:
        assert (shard.document(key) is not None) == (key in live)
        assert (shard.vectors(key) != []) == (key in live)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories)
def test_whatever_happens_a_shard_is_the_latest_of_its_log_and_no_id_has_two_documents(
    history: list[tuple[list[tuple[str, str, Leaf | None]], str]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        owner = Owner(Path(folder) / "owner")
        for steps, ending in history:
            owner.batch(steps, ending)
            check_against_the_twin(owner.shard, owner.twin)
        everything = [
            (code.epoch, code.semantic_id)
            for key in KEYS
            for code in (list({(c.epoch, c.semantic_id): c for c in _codes_of(owner.log, key)}.values()))
        ]
        assert len(everything) == len(set(everything)), "a code was given to two documents"
        assert owner.shard.position(0) == len(owner.log)
        check_rebuilt_shards(owner, Path(folder))
        owner.shard.close()


def _codes_of(log: list[LogRecord], key: str) -> list:
    return [code for r in log if r.key == key and r.assignment for code in r.assignment.ids]


def check_rebuilt_shards(owner: Owner, folder: Path) -> None:
    """A new disk comes to the same state, from the whole log and from the compacted one."""
    latest = {record.key: record for record in owner.log}
    compacted = sorted(latest.values(), key=lambda record: record.offset)
    for name, log in (("whole", owner.log), ("compacted", compacted)):
        with Shard.open(folder / name) as rebuilt:
            for record in log:
                rebuilt.apply([record])
            check_against_the_twin(rebuilt, owner.twin)
            assert rebuilt.position(0) == owner.shard.position(0)
            assert rebuilt.applied("documents") == owner.shard.applied("documents")
            for epoch in EPOCHS:
                for leaf in LEAVES:
                    assert rebuilt.next_instance(epoch, leaf) == owner.shard.next_instance(epoch, leaf)
            for key in KEYS:
                ours, theirs = owner.shard.stored(key), rebuilt.stored(key)
                assert (ours is None) == (theirs is None)
                assert ours is None or set(ours.retired) == set(theirs.retired)
