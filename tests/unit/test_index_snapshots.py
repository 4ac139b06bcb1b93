"""Snapshots of a searcher's index: when they are written, and when they are trusted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from agents.dense_path import DenseFeed
from agents.index_snapshots import IndexSnapshots
from agents.lexical_path import LexicalPath
from state.live_documents import live_changes
from state.live_index import LiveIndex
from state.records import LogRecord
from state.shard import Shard
from streams.settings import Settings, load_settings
from tests.log_records import STAMP, assigned, assignment_of

RECORDS = [
    assigned(f"d{number}", assignment_of({}, title=f"t{number}"), offset=number) for number in range(20)
]


class World:
    """An index with its shard and its snapshots, made anew in the same folder at each start."""

    def __init__(self, folder: Path, *, cluster: str = "c", stamp: str = STAMP, **index: Any) -> None:
        self.settings: Settings = load_settings(index=index) if index else load_settings()
        self.index = LiveIndex(4)
        self.dense = DenseFeed(self.settings, folder / "dense", index=self.index, stamp=stamp)
        self.shard = Shard.open(folder / "replica")
        self.lexical = LexicalPath(self.settings, folder / "lexical", index=self.index, shard=self.shard)
        self.snapshots = IndexSnapshots(
            self.settings,
            folder / "index",
            index=self.index,
            dense=self.dense,
            lexical=self.lexical,
            cluster=cluster,
            stamp=stamp,
        )

    def take(self, records: list[LogRecord]) -> None:
        self.shard.apply(records)
        changes = list(live_changes(records, stamp=STAMP))
        with self.dense.following(changes):
            self.index.apply(changes)
        self.lexical.take(records)

    def close(self) -> None:
        self.lexical.index.flush(timeout_s=30.0)
        self.lexical.close()
        self.dense.close()
        self.shard.close()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    world = World(tmp_path)
    world.take(RECORDS)
    world.snapshots.save(world.shard.positions)
    world.close()
    return tmp_path


def test_an_index_is_read_with_what_the_dense_path_knows(saved: Path) -> None:
    world = World(saved)
    assert world.snapshots.load(world.shard)
    assert sorted(key for _, key in world.index.items()) == sorted(record.key for record in RECORDS)
    assert (world.dense.identities()[: len(RECORDS)] != 0).all()
    world.close()


def test_a_new_epoch_after_a_start_reads_no_word_again(saved: Path) -> None:
    world = World(saved)
    assert world.snapshots.load(world.shard)
    world.lexical.start()
    assert len(world.lexical.index.search("t7", 5)[0]) == 1
    before = world.lexical.index._applied
    records = [
        assigned(record.key, assignment_of({1: number}, title=f"t{number}"), offset=100 + number)
        for number, record in enumerate(RECORDS)
    ]
    world.take(records)
    assert world.lexical.index._applied == before
    world.close()


@pytest.mark.parametrize("other", [{"cluster": "other"}, {"stamp": "other@1/f32"}])
def test_a_snapshot_of_another_cluster_or_encoder_is_not_read(saved: Path, other: dict[str, str]) -> None:
    world = World(saved, **other)
    assert not world.snapshots.load(world.shard)
    assert len(world.index) == 0
    world.close()


def test_a_snapshot_older_than_the_tombstones_is_not_read(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(saved)
    later = time.time() + world.settings.retention.tombstones_h * 3_600 + 1
    monkeypatch.setattr("agents.index_snapshots.time.time", lambda: later)
    assert not world.snapshots.load(world.shard)
    world.close()


def test_a_snapshot_that_is_ahead_of_the_shard_is_not_read(saved: Path, tmp_path: Path) -> None:
    world = World(saved)
    fresh = Shard.open(tmp_path / "fresh")
    assert not world.snapshots.load(fresh)
    fresh.close()
    world.close()


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.999])
def test_a_damaged_snapshot_is_not_read(saved: Path, place: float) -> None:
    path = saved / "index" / "index.npz"
    content = bytearray(path.read_bytes())
    for at in range(int(place * len(content)), min(len(content), int(place * len(content)) + 300)):
        content[at] ^= 0xFF
    path.write_bytes(content)
    world = World(saved)
    assert not world.snapshots.load(world.shard)
    assert len(world.index) == 0
    world.close()


def test_half_a_snapshot_leaves_the_one_before(saved: Path) -> None:
    (saved / "index" / "index.npz.partial").write_bytes(b"half")
    world = World(saved)
    assert world.snapshots.load(world.shard)
    world.snapshots.save(world.shard.positions)
    assert not (saved / "index" / "index.npz.partial").exists()
    world.close()


def test_it_is_written_when_much_has_changed(tmp_path: Path) -> None:
    world = World(tmp_path, snapshot_every_s=0.001)
    path = tmp_path / "index" / "index.npz"
    time.sleep(0.02)
    world.snapshots.save_when_due(world.shard.positions)
    assert not path.exists(), "nothing came"
    world.take(RECORDS)
    world.snapshots.save_when_due(world.shard.positions)
    written = path.stat().st_mtime_ns
    time.sleep(0.02)
    world.snapshots.save_when_due(world.shard.positions)
    assert path.stat().st_mtime_ns == written, "nothing came since"
    world.close()


def test_a_full_disk_stops_nothing(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*about: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("agents.index_snapshots.write_live", full)
    world = World(saved)
    world.snapshots.save(world.shard.positions)
    assert "the index cannot be saved" in capsys.readouterr().out
    world.close()
