"""Opening shards: trust, checkpoints, other clusters and encoders."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.shards import CheckpointSaver, open_shard
from state.records import LogRecord
from state.shard import Shard
from streams.settings import CheckpointSettings, Settings
from tests.log_records import assigned, assignment_of, packed


def _settings(tmp_path: Path, *, every_s: float = 0.000_001) -> Settings:
    checkpoints = CheckpointSettings(folder=tmp_path / "copies", every_s=every_s)
    return Settings(data=tmp_path / "data", checkpoints=checkpoints)


def _first() -> LogRecord:
    return assigned("d1", assignment_of({0: packed("0.0.0.0")}), offset=7)


def _open(path: Path, settings: Settings, **named: object) -> Shard:
    facts = {"cluster": "one", "stamp": "hash@1/f32"} | named
    return open_shard(path, settings=settings, **facts)


def test_a_lost_disk_starts_from_the_checkpoint_instead_of_the_whole_log(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    saver = CheckpointSaver(settings, name="indexer/0")
    shard = _open(tmp_path / "a", settings)
    shard.apply([_first()])
    assert saver.is_due
    saver.save(shard)
    shard.close()

    restored = _open(tmp_path / "b", settings, checkpoint=saver.folder)
    assert restored.position(0) == 8
    assert restored.stored("d1") is not None
    restored.close()


def test_a_damaged_checkpoint_costs_time_and_nothing_else(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    saver = CheckpointSaver(settings, name="indexer/0")
    shard = _open(tmp_path / "a", settings)
    shard.apply([_first()])
    saver.save(shard)
    shard.close()
    assert saver.folder is not None
    for file in (saver.folder / "database").glob("*"):
        file.write_bytes(b"damaged")

    rebuilt = _open(tmp_path / "b", settings, checkpoint=saver.folder)
    assert rebuilt.position(0) == 0
    rebuilt.close()


def test_nothing_is_copied_without_a_folder_or_before_its_time(tmp_path: Path) -> None:
    assert not CheckpointSaver(Settings(data=tmp_path), name="x").is_due
    assert not CheckpointSaver(_settings(tmp_path, every_s=600), name="x").is_due


@pytest.mark.parametrize("changed", [{"cluster": "two"}, {"stamp": "lite@1/int8"}])
def test_a_shard_of_another_cluster_or_encoder_is_rebuilt(tmp_path: Path, changed: dict[str, str]) -> None:
    settings = _settings(tmp_path)
    shard = _open(tmp_path / "a", settings)
    shard.apply([_first()])
    shard.close()

    other = _open(tmp_path / "a", settings, **changed)
    assert other.position(0) == 0
    assert other.stored("d1") is None
    other.close()


def test_a_shard_older_than_the_tombstones_is_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _settings(tmp_path)
    shard = _open(tmp_path / "a", settings)
    shard.apply([_first()])
    written_at = shard.written_at()
    shard.close()
    assert written_at is not None
    later = written_at + settings.retention.tombstones_h * 3_600 + 60
    monkeypatch.setattr("agents.shards.time.time", lambda: later)

    rebuilt = _open(tmp_path / "a", settings)
    assert rebuilt.position(0) == 0
    rebuilt.close()
