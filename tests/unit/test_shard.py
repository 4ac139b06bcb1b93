from __future__ import annotations

import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from state.columns import Mutations, ShardLockedError, SharedMemory
from state.shard import Shard
from streams.errors import StateError
from streams.semantic_id import Leaf
from tests.log_records import STAMP, assigned, assignment_of, completed, deleted, packed, source

OLD, NEW = packed("3.17.402.8"), packed("3.17.9.0")


@pytest.fixture
def shard(tmp_path: Path):
    with Shard.open(tmp_path / "shard") as opened:
        yield opened


def test_a_document_is_found_by_its_key_and_by_its_id_and_comes_back_whole(shard: Shard) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assignment = assignment_of(
        {1: OLD}, title="rote Stiefel", fields={"price": 3, "sizes": [1, 2.5, "L", True]}
    )
    assignment = assignment.model_copy(
        update={"published_at": at, "tags": ["a"], "version": 7, "codebook_offset": 5, "language": "de"}
    )
    shard.apply([assigned("boots", assignment, offset=0)])

    stored, document = shard.stored("boots"), shard.document("boots")
    assert stored is not None
    assert document is not None
    assert (stored.ids, stored.version, stored.deleted, stored.codebook_offset) == ({1: OLD}, 7, False, 5)
    assert (stored.content_hash, stored.source) == (assignment.content_hash, assignment.source)
    assert (document.title, document.language, document.tags) == ("rote Stiefel", "de", ["a"])
    assert (document.fields, document.published_at, document.version) == (assignment.fields, at, 7)
    assert shard.document_with(1, OLD) == "boots"
    [vector] = shard.vectors("boots")
    assert (vector.stamp, vector.kind) == (STAMP, "fused")
    np.testing.assert_array_equal(vector.array, assignment.vectors[0].array())


def test_an_unknown_document_is_nowhere(shard: Shard) -> None:
    assert shard.stored("x") is None
    assert shard.document("x") is None
    assert shard.vectors("x") == []
    assert shard.document_with(1, OLD) is None
    assert (shard.position(0), shard.applied("documents"), shard.written_at()) == (0, -1, None)
    assert shard.children(1) == []


def test_a_change_takes_the_old_id_away_and_gives_the_new_one(shard: Shard) -> None:
    shard.apply([assigned("a", assignment_of({1: OLD}), offset=0)])
    shard.apply([assigned("a", assignment_of({1: NEW}, retired=[(1, OLD)]), offset=1)])
    assert shard.document_with(1, OLD) is None
    assert shard.document_with(1, NEW) == "a"
    assert shard.children(1, (3, 17)) == [(9, 1)]
    assert shard.count() == 1


def test_one_batch_may_hold_the_same_document_several_times(shard: Shard) -> None:
    shard.apply(
        [
            assigned("a", assignment_of({1: OLD}), offset=0),
            assigned("b", assignment_of({1: NEW}), offset=1),
            deleted("a", {1: OLD}, offset=2),
            assigned("c", assignment_of({1: OLD + 1}), offset=3),
            assigned("a", assignment_of({1: OLD + 2}), offset=4),
        ]
    )
    assert list(shard.document_ids()) == ["a", "b", "c"]
    assert shard.children(1, (3, 17, 402)) == [(9, 1), (10, 1)]
    assert shard.children(1, (3, 17)) == [(9, 1), (402, 2)]
    assert shard.children(1) == [(3, 3)]


def test_a_deleted_document_keeps_its_version_and_its_codes_until_it_is_forgotten(shard: Shard) -> None:
    shard.apply([assigned("a", assignment_of({1: OLD}, version=4), offset=0)])
    shard.apply([deleted("a", {1: OLD}, retired=((1, NEW),), version=4, offset=1)])
    stored = shard.stored("a")
    assert stored is not None
    assert stored.deleted
    assert (stored.ids, stored.version, stored.retired) == ({}, 4, ((1, NEW), (1, OLD)))
    assert shard.document("a") is None
    assert (shard.vectors("a"), shard.count(), list(shard.scan())) == ([], 0, [])
    assert stored.deleted_at is not None
    assert shard.forget_deleted(before=stored.deleted_at) == 0
    assert shard.forget_deleted(before=stored.deleted_at + 1) == 1
    assert shard.stored("a") is None
    assert shard.next_instance(1, Leaf(3, 17, 402)) == 9


def test_records_that_were_taken_in_before_are_skipped(shard: Shard) -> None:
    first = assigned("a", assignment_of({1: OLD}, title="old"), offset=5)
    shard.apply([first, assigned("a", assignment_of({1: NEW}, title="new"), offset=9)])
    shard.apply([first])
    document = shard.document("a")
    assert document is not None
    assert document.title == "new"
    assert shard.document_with(1, OLD) is None
    assert shard.position(0) == 10


def test_each_partition_has_its_own_position(shard: Shard) -> None:
    shard.apply([assigned("a", assignment_of({1: OLD}), offset=7, partition=3)])
    shard.apply([assigned("b", assignment_of({1: NEW}), offset=2, partition=1)])
    assert (shard.position(3), shard.position(1), shard.position(0)) == (8, 3, 0)
    assert shard.positions() == {1: 3, 3: 8}
    assert shard.count() == 2


def test_applied_source_offsets_come_from_records_and_from_the_caller_and_never_go_back(shard: Shard) -> None:
    shard.apply([assigned("a", assignment_of({1: OLD}, source_offset=6), offset=0)])
    assert shard.applied("documents") == 6
    shard.apply([], applied={"documents": 9, "moves": 2})
    shard.apply([], applied={"documents": 4})
    assert (shard.applied("documents"), shard.applied("moves")) == (9, 2)


def test_counters_count_given_up_codes_too(shard: Shard) -> None:
    leaf = Leaf(3, 17, 402)
    shard.apply([assigned("a", assignment_of({1: NEW}, retired=[(1, OLD)]), offset=0)])
    assert shard.next_instance(1, leaf) == 9
    shard.apply([deleted("b", {1: OLD + 5}, offset=1)])
    assert shard.next_instance(1, leaf) == 14
    assert shard.next_instance(2, leaf) == 0


def test_the_later_record_wins_a_code_that_two_documents_claim(shard: Shard) -> None:
    shard.apply([assigned("a", assignment_of({1: OLD, 2: OLD}), offset=0)])
    shard.apply([assigned("b", assignment_of({1: OLD}), offset=1)])
    loser = shard.stored("a")
    assert loser is not None
    assert loser.ids == {2: OLD}
    assert shard.document_with(1, OLD) == "b"
    shard.apply([deleted("a", {2: OLD}, offset=2)])
    assert shard.document_with(1, OLD) == "b"
    assert shard.children(1) == [(3, 1)]
    assert shard.children(2) == []


def test_a_document_has_an_id_in_each_epoch_and_completion_is_kept(shard: Shard) -> None:
    shard.apply([assigned("a", assignment_of({1: OLD, 2: NEW}), offset=0)])
    shard.apply(
        [completed(2, partition=0, documents=1, offset=1), completed(2, partition=5, documents=3, offset=0)]
    )
    assert shard.document_with(1, OLD) == shard.document_with(2, NEW) == "a"
    assert shard.completed(2) == {0: 1, 5: 3}
    assert shard.completed(1) == {}
    assert shard.position(0) == 2


def test_the_next_assignment_lists_all_codes_that_are_given_up(shard: Shard) -> None:
    shard.apply([assigned("a", assignment_of({1: OLD, 2: NEW}, retired=[(1, 5)]), offset=0)])
    stored = shard.stored("a")
    assert stored is not None
    assert stored.retired_after({1: OLD, 2: NEW + 1}) == [(1, 5), (2, NEW)]


def test_settings_are_kept_and_positions_survive_a_second_opening(tmp_path: Path) -> None:
    with Shard.open(tmp_path / "s") as shard:
        assert shard.meta_get("stamp") is None
        shard.meta_put("stamp", STAMP)
        shard.apply([assigned("a", assignment_of({1: OLD}), offset=41)])
    with Shard.open(tmp_path / "s", sync=True) as shard:
        assert shard.meta_get("stamp") == STAMP
        assert shard.position(0) == 42
        shard.apply([deleted("a", {1: OLD}, offset=42)])
        assert shard.count() == 0


def test_a_scan_goes_on_from_where_it_was_left_while_writes_go_on(shard: Shard) -> None:
    records = [assigned(f"d{i:04}", assignment_of({1: i}), offset=i) for i in range(700)]
    shard.apply(records)
    scan = shard.scan(after="d0099")
    assert next(scan)[0] == "d0100"
    shard.apply([deleted("d0600", {1: 600}, offset=700)])
    rest = [document_id for document_id, _ in scan]
    assert rest == [f"d{i:04}" for i in range(101, 700) if i != 600]


def test_closing_gives_the_lock_back_even_with_a_scan_left_half_way(tmp_path: Path) -> None:
    shard = Shard.open(tmp_path / "s")
    shard.apply([assigned(f"d{i}", assignment_of({1: i}), offset=i) for i in range(600)])
    scan = shard.scan()
    next(scan)
    for _ in range(3):
        shard.close()
        shard.close()
        shard = Shard.open(tmp_path / "s")
    assert shard.count() == 600
    shard.close()
    with pytest.raises(StateError, match="is closed"):
        shard.stored("d1")


def test_a_shard_that_is_open_already_is_refused_with_what_to_do(tmp_path: Path) -> None:
    open_it = (
        f"from pathlib import Path; from state.shard import Shard; Shard.open(Path({str(tmp_path / 's')!r}))"
    )
    with Shard.open(tmp_path / "s"):
        with pytest.raises(ShardLockedError, match="own data folder"):
            Shard.open(tmp_path / "s")
        other = subprocess.run([sys.executable, "-c", open_it], capture_output=True, text=True)
        assert "ShardLockedError" in other.stderr
    Shard.open(tmp_path / "s").close()


def test_a_damaged_shard_is_refused_with_what_to_do(tmp_path: Path) -> None:
    Shard.open(tmp_path / "s").close()
    (tmp_path / "s" / "CURRENT").write_text("damaged")
    with pytest.raises(StateError, match="delete the folder, it is rebuilt from the log"):
        Shard.open(tmp_path / "s")


def test_another_schema_is_refused_and_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Shard.open(tmp_path / "s").close()
    with monkeypatch.context() as patched:
        patched.setattr("state.shard.SCHEMA_VERSION", 2)
        with pytest.raises(StateError, match="has schema 1, this version reads 2"):
            Shard.open(tmp_path / "s")
    Shard.open(tmp_path / "s").close()


def test_shards_share_their_memory(tmp_path: Path) -> None:
    memory = SharedMemory()
    with Shard.open(tmp_path / "0", memory=memory) as one, Shard.open(tmp_path / "1", memory=memory) as two:
        before = memory.write_buffers.get_usage()
        for shard in (one, two):
            shard.apply([assigned(f"d{i}", assignment_of({1: i}), offset=i) for i in range(500)])
        assert memory.write_buffers.get_usage() > before
        assert one.count() == two.count() == 500


def test_a_failed_write_changes_nothing(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Mutations) -> None:
        raise StateError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(shard._columns, "write", fail)
        with pytest.raises(StateError, match="no space"):
            shard.apply([assigned("a", assignment_of({1: OLD}), offset=0)])
    assert (shard.position(0), shard.count(), shard.stored("a")) == (0, 0, None)
    shard.apply([assigned("a", assignment_of({1: OLD}), offset=0)])
    assert shard.document_with(1, OLD) == "a"


def test_a_source_without_a_topic_moves_no_offset(shard: Shard) -> None:
    assignment = assignment_of({1: OLD}).model_copy(
        update={"source": source(5).model_copy(update={"topic": None})}
    )
    shard.apply([assigned("a", assignment, offset=0)])
    assert shard.applied("documents") == -1


WRITE_UNTIL_KILLED = """
    import itertools, sys
    from pathlib import Path
    from state.shard import Shard
    from tests.log_records import assigned, assignment_of
    shard = Shard.open(Path(sys.argv[1]))
    for start in itertools.count(step=10):
        shard.apply(
            [assigned(f"d{i % 97}", assignment_of({1: i}, source_offset=i), offset=i)
             for i in range(start, start + 10)]
        )
        print(start + 10, flush=True)
"""


def test_after_kill_9_rows_positions_and_counts_agree(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(WRITE_UNTIL_KILLED), str(tmp_path / "s")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        confirmed = [int(next(writer.stdout)) for _ in range(40)][-1]
        writer.kill()
    with Shard.open(tmp_path / "s") as shard:
        position = shard.position(0)
        assert position >= confirmed
        assert position % 10 == 0
        assert shard.applied("documents") == position - 1
        latest = {f"d{i % 97}": i for i in range(position)}
        assert {key: stored.ids[1] for key, stored in shard.scan()} == latest
        assert shard.count() == sum(live for _, live in shard.children(1)) == 97
        assert {code for code, _ in shard.children(1, (0, 0, 0))} == set(latest.values())
