from __future__ import annotations

import os
from pathlib import Path

import pytest

from state import checkpoints
from state.checkpoints import delete_shard, restore_checkpoint, save_checkpoint
from state.shard import STAMP, Shard
from streams.errors import StateError
from tests.log_records import assigned, assignment_of


def filled(path: Path, documents: int = 50) -> Shard:
    shard = Shard.open(path)
    shard.meta_put(STAMP, "hash@1/f32")
    shard.apply([assigned(f"d{i}", assignment_of({1: i}), offset=i) for i in range(documents)])
    return shard


def test_a_restored_shard_goes_on_from_its_position(tmp_path: Path) -> None:
    with filled(tmp_path / "s") as shard:
        note = save_checkpoint(shard, tmp_path / "checkpoint")
        shard.apply([assigned("later", assignment_of({1: 99}), offset=50)])
        written_at = note.written_at
    assert (note.positions, note.stamp) == ({0: 50}, "hash@1/f32")
    delete_shard(tmp_path / "s")
    assert restore_checkpoint(tmp_path / "checkpoint", tmp_path / "s") == note
    with Shard.open(tmp_path / "s") as shard:
        assert (shard.position(0), shard.count(), shard.stored("later")) == (50, 50, None)
        assert shard.written_at() == written_at
        shard.apply([assigned("later", assignment_of({1: 99}), offset=50)])
        assert shard.document_with(1, 99) == "later"


def test_a_new_checkpoint_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    with filled(tmp_path / "s") as shard:
        save_checkpoint(shard, tmp_path / "checkpoint")
        shard.apply([assigned("later", assignment_of({1: 99}), offset=50)])
        save_checkpoint(shard, tmp_path / "checkpoint")
    assert restore_checkpoint(tmp_path / "checkpoint", tmp_path / "r").positions == {0: 51}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "r", "s"]


def test_a_checkpoint_is_not_changed_by_what_is_written_to_the_restored_shard(tmp_path: Path) -> None:
    with filled(tmp_path / "s") as shard:
        save_checkpoint(shard, tmp_path / "checkpoint")
    for name in ("r1", "r2"):
        restore_checkpoint(tmp_path / "checkpoint", tmp_path / name)
        with Shard.open(tmp_path / name) as shard:
            assert shard.count() == 50
            shard.apply([assigned(name, assignment_of({1: 99}), offset=50)])


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "note"])
def test_a_damaged_checkpoint_is_refused_and_leaves_nothing(tmp_path: Path, damage: str) -> None:
    with filled(tmp_path / "s") as shard:
        save_checkpoint(shard, tmp_path / "checkpoint")
    database = tmp_path / "checkpoint" / "database"
    table = next(path for path in database.iterdir() if path.suffix == ".sst")
    if damage == "changed":
        content = bytearray(table.read_bytes())
        content[len(content) // 2] ^= 1
        table.unlink()
        table.write_bytes(content)
    elif damage == "missing":
        table.unlink()
    elif damage == "added":
        (database / "more").write_text("x")
    else:
        (tmp_path / "checkpoint" / "checkpoint.json").write_text("{")
    with pytest.raises(StateError, match=r"damaged|no whole checkpoint"):
        restore_checkpoint(tmp_path / "checkpoint", tmp_path / "r")
    assert not any(path.name.startswith("r") for path in tmp_path.iterdir())


def test_another_schema_a_missing_checkpoint_and_a_taken_place_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StateError, match="no whole checkpoint"):
        restore_checkpoint(tmp_path / "checkpoint", tmp_path / "r")
    with filled(tmp_path / "s") as shard:
        save_checkpoint(shard, tmp_path / "checkpoint")
    with pytest.raises(StateError, match="close and delete it before"):
        restore_checkpoint(tmp_path / "checkpoint", tmp_path / "s")
    monkeypatch.setattr(checkpoints, "SCHEMA_VERSION", 9)
    with pytest.raises(StateError, match="has schema 1, this version reads 9"):
        restore_checkpoint(tmp_path / "checkpoint", tmp_path / "r")


def test_killed_at_any_rename_the_next_time_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed_at(number: int) -> None:
        calls = iter(range(100))

        def replace(source: Path, target: Path) -> None:
            if next(calls) == number:
                raise Killed
            os.rename(source, target)

        monkeypatch.setattr(checkpoints.os, "replace", replace)

    with filled(tmp_path / "s") as shard:
        save_checkpoint(shard, tmp_path / "checkpoint")
        for number in range(2):
            killed_at(number)
            with pytest.raises(Killed):
                save_checkpoint(shard, tmp_path / "checkpoint")
            monkeypatch.undo()
            save_checkpoint(shard, tmp_path / "checkpoint")
    killed_at(0)
    with pytest.raises(Killed):
        restore_checkpoint(tmp_path / "checkpoint", tmp_path / "r")
    monkeypatch.undo()
    assert not (tmp_path / "r").exists()
    restore_checkpoint(tmp_path / "checkpoint", tmp_path / "r")
    with Shard.open(tmp_path / "r") as shard:
        assert shard.count() == 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "r", "s"]


def test_a_deleted_shard_is_begun_anew_and_deleting_nothing_is_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete_shard(tmp_path / "s")
    filled(tmp_path / "s").close()
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.shutil, "rmtree", lambda path: (path / "CURRENT").unlink())
        delete_shard(tmp_path / "s")  # killed half way
    with Shard.open(tmp_path / "s") as shard:
        assert (shard.count(), shard.position(0)) == (0, 0)
    delete_shard(tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_caught_up_keeps_its_shard_young(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(tmp_path / "s") as shard:
        monkeypatch.setattr("state.shard.time.time", lambda: 10_000_000_000.0)
        shard.apply([])
        assert shard.written_at() == 10_000_000_000.0
