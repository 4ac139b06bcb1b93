"""The dense path behind a live index, as the searcher feeds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agents import dense_path
from agents.dense_path import DenseFeed
from state.live_documents import fill, live_changes
from state.live_index import Change, LiveDocument, LiveIndex, Removal
from state.shard import Shard
from streams.settings import IndexSettings, load_settings
from tests.log_records import STAMP, assigned, assignment_of
from tests.recovery.waiting import eventually

DIMENSION, EXACT_UP_TO = 16, 50
RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(400, DIMENSION)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)


class World:
    def __init__(self, folder: Path) -> None:
        settings = load_settings(index=IndexSettings(exact_up_to=EXACT_UP_TO))
        self.index = LiveIndex(DIMENSION)
        self.feed = DenseFeed(settings, folder, index=self.index, stamp="s")

    def apply(self, *changes: Change) -> None:
        with self.feed.following(changes):
            self.index.apply(changes)

    def settle(self) -> None:
        eventually(lambda: self.feed.behind == 0, 60.0, what="the graph has everything")

    @property
    def nodes(self) -> int:
        return 0 if self.feed._follower is None else self.feed._follower.index.nodes

    def nearest(self, vector: np.ndarray, k: int = 5) -> list[str | None] | None:
        slots = self.feed.search(vector, k, allowed=None)
        return None if slots is None else [self.index.document_id(slot) for slot in slots.tolist()]


def document(number: int, vector: np.ndarray | None = None) -> LiveDocument:
    return LiveDocument(f"d{number}", {}, [("text", VECTORS[number] if vector is None else vector)], "vector")


def test_there_is_no_graph_while_all_documents_are_scored_exactly(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.apply(*(document(n) for n in range(EXACT_UP_TO)))
    assert world.nearest(VECTORS[0]) is None
    assert world.feed.behind == 0
    world.feed.close()


def test_documents_that_came_before_and_after_the_graph_began_are_found(tmp_path: Path) -> None:
    world = World(tmp_path)
    for start in range(0, 400, 40):
        world.apply(*(document(n) for n in range(start, start + 40)))
    world.settle()
    for number in (0, 49, 51, 399):
        assert (world.nearest(VECTORS[number]) or [])[0] == f"d{number}"
    world.feed.close()


def test_a_removed_document_is_gone_at_once_and_a_changed_one_is_found_as_it_is_now(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.apply(*(document(n) for n in range(200)))
    world.settle()
    world.apply(Removal("d7"), document(8, -VECTORS[8]))
    assert "d7" not in (world.nearest(VECTORS[7]) or [])
    world.settle()
    assert (world.nearest(-VECTORS[8]) or [])[0] == "d8"
    world.apply(document(300))  # may take the slot of d7
    world.settle()
    assert (world.nearest(VECTORS[300]) or [])[0] == "d300"
    world.feed.close()


def test_a_new_id_alone_changes_nothing_in_the_graph(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.apply(*(document(n) for n in range(200)))
    world.settle()
    nodes = world.nodes
    world.apply(LiveDocument("d3", {1: 77}, [("text", VECTORS[3])], "vector"))
    assert (world.feed.behind, world.nodes) == (0, nodes)
    assert (world.nearest(VECTORS[3]) or [])[0] == "d3"
    world.feed.close()


def test_a_document_that_comes_back_unchanged_to_its_old_slot_is_found(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.apply(*(document(n) for n in range(200)))
    world.settle()
    slot = world.index.slot_of("d7")
    world.apply(Removal("d7"))
    world.settle()
    world.apply(document(7))
    assert world.index.slot_of("d7") == slot
    world.settle()
    assert (world.nearest(VECTORS[7]) or [])[0] == "d7"
    world.feed.close()


def test_a_document_that_moves_to_a_slot_beyond_the_first_thousand_is_found(tmp_path: Path) -> None:
    world = World(tmp_path)
    many = RANDOM.normal(size=(1_029, DIMENSION)).astype(np.float32)
    world.apply(*(document(n, vector) for n, vector in enumerate(many)))
    world.apply(Removal("d5"))
    world.settle()  # nobody reads: the slot can be given again
    world.apply(document(2_000, -many[5]))  # takes the slot of d5
    world.apply(document(5, many[5]))
    assert world.index.slot_of("d5") == 1_029  # 1,024 more than it was
    world.settle()
    assert (world.nearest(many[5]) or [])[0] == "d5"
    world.feed.close()


def test_a_slot_in_the_midst_of_a_change_has_no_content(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.apply(*(document(n) for n in range(60)))
    slot = world.index.slot_of("d8")
    assert slot is not None
    before = world.feed._content(slot)
    assert before is not None
    changes = [document(8, -VECTORS[8]), document(8)]  # and back: to a new content that equals the old one
    with world.feed.following(changes):
        assert world.feed._content(slot) is None
        world.index.apply(changes)
        assert world.feed._content(slot) is None
    after = world.feed._content(slot)
    assert after is not None
    assert after[0] == before[0]
    world.feed.close()


def test_a_change_while_a_slot_is_read_leaves_it_to_be_read_again(tmp_path: Path, monkeypatch) -> None:
    world = World(tmp_path)
    world.apply(*(document(n) for n in range(60)))
    world.settle()
    slot = world.index.slot_of("d8")
    assert slot is not None
    read = world.index.vectors

    def slow(asked: int) -> np.ndarray:
        vectors = read(asked)
        monkeypatch.setattr(world.index, "vectors", read)
        world.apply(document(8, -VECTORS[8]))
        return vectors

    monkeypatch.setattr(world.index, "vectors", slow)
    assert world.feed._content(slot) is None
    world.settle()
    assert (world.nearest(-VECTORS[8]) or [])[0] == "d8"
    world.feed.close()


def test_a_snapshot_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(dense_path, "SNAPSHOT_EVERY_S", 0.0)
    world = World(tmp_path / "file")
    (tmp_path / "file").touch()
    world.apply(*(document(n) for n in range(200)))
    world.apply(document(200))
    world.feed.save_when_due()
    world.settle()
    assert (world.nearest(VECTORS[200]) or [])[0] == "d200"
    world.feed.close()


def test_a_start_takes_the_graph_from_the_disk_and_queues_what_changed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(dense_path, "SNAPSHOT_EVERY_S", 0.0)
    world = World(tmp_path)
    world.apply(*(document(n) for n in range(200)))
    world.settle()
    world.apply(document(200))
    world.settle()
    world.feed.save_when_due()
    world.feed.close()

    again = World(tmp_path)
    documents = [document(n) for n in range(202) if n not in (5, 9)] + [document(9, -VECTORS[9])]
    again.index.apply(documents)
    again.feed.note(documents)
    again.feed.load()
    again.settle()
    for number in (0, 100, 201):
        assert (again.nearest(VECTORS[number]) or [])[0] == f"d{number}"
    assert "d5" not in (again.nearest(VECTORS[5]) or [])
    assert (again.nearest(-VECTORS[9]) or [])[0] == "d9"
    again.feed.close()


def test_what_the_log_brought_is_known_again_from_the_shard(tmp_path: Path, monkeypatch) -> None:
    """Else each start would build the graph anew."""
    monkeypatch.setattr(dense_path, "SNAPSHOT_EVERY_S", 0.0)
    records = [
        assigned(f"d{n}", assignment_of({0: n}, title=f"{n}", dimension=DIMENSION), offset=n)
        for n in range(80)
    ]
    world, again = World(tmp_path), World(tmp_path)
    with Shard.open(tmp_path / "shard") as shard:
        shard.apply(records)
        world.apply(*live_changes(records, stamp=STAMP))
        world.settle()
        world.feed.save_when_due()
        world.feed.close()
        fill(again.index, shard, stamp=STAMP, on_batch=again.feed.note)
    again.feed.load()
    assert (again.feed.behind, again.nodes) == (0, 80)
    again.feed.close()


def test_a_damaged_snapshot_is_built_again(tmp_path: Path) -> None:
    (tmp_path / "graph.bin").write_bytes(b"not a graph")
    world = World(tmp_path)
    documents = [document(n) for n in range(100)]
    world.index.apply(documents)
    world.feed.note(documents)
    world.feed.load()
    world.settle()
    assert (world.nearest(VECTORS[42]) or [])[0] == "d42"
    world.feed.close()
