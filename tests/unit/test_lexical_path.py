"""Words are read again when an event brought them, and not when a document only gets other ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.lexical_path import LexicalPath
from state.live_documents import live_changes
from state.live_index import LiveIndex
from state.records import LogRecord
from state.shard import Shard
from streams.settings import load_settings
from tests.log_records import STAMP, assigned, assignment_of, deleted
from tests.recovery.waiting import eventually

DIMENSION = 4


class Replica:
    """A shard, a live index and the lexical path behind it, as a searcher feeds them."""

    def __init__(self, folder: Path) -> None:
        self.live = LiveIndex(DIMENSION)
        self.shard = Shard.open(folder / "shard")
        self.path = LexicalPath(load_settings(), folder / "lexical", index=self.live, shard=self.shard)
        self.path.start()

    def take(self, *records: LogRecord) -> int:
        """Take in records; how many changes of words they made."""
        before = self.path.index._applied
        self.shard.apply(records)
        self.live.apply(live_changes(records, stamp=STAMP))
        self.path.take(records)
        return self.path.index._applied - before

    def found(self, words: str) -> list[str | None]:
        assert self.path.index.flush(timeout_s=30.0)
        slots, _ = self.path.index.search(words, 10)
        return [self.live.document_id(slot) for slot in slots.tolist()]

    def close(self) -> None:
        self.path.close()
        self.shard.close()


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    opened = Replica(tmp_path)
    yield opened
    opened.close()


def test_a_new_epoch_gives_every_document_an_id_and_reads_no_word_again(replica: Replica) -> None:
    names = [f"d{number}" for number in range(1_500)]  # more than there is room for at first
    titles = {name: f"kettle {name}" for name in names}

    def all_in(*epochs: int, first: int) -> list[LogRecord]:
        return [
            assigned(
                name,
                assignment_of(dict.fromkeys(epochs, n), title=titles[name], source_offset=n),
                offset=first + n,
            )
            for n, name in enumerate(names)
        ]

    assert replica.take(*all_in(0, first=0)) == len(names)
    assert replica.take(*all_in(0, 1, first=2_000)) == 0
    assert replica.found("d1499") == ["d1499"]
    eventually(lambda: replica.path.index.positions == {0: 3_500}, 30.0, what="the positions are committed")


def test_a_changed_document_is_found_by_its_new_words_alone(replica: Replica) -> None:
    replica.take(assigned("a", assignment_of({0: 1}, title="kettle", source_offset=3), offset=0))
    changed = assignment_of({0: 1}, title="guitar", source_offset=4)
    assert replica.take(assigned("a", changed, offset=1)) == 1
    assert (replica.found("kettle"), replica.found("guitar")) == ([], ["a"])


def test_a_document_that_comes_back_as_it_was_is_found_again(replica: Replica) -> None:
    before = assignment_of({0: 1}, title="kettle", source_offset=3)
    after = assignment_of({0: 2}, title="kettle", source_offset=5)
    replica.take(assigned("a", before, offset=0))
    replica.take(deleted("a", {0: 1}, offset=1, source_offset=4))
    assert replica.found("kettle") == []
    replica.take(assigned("a", after, offset=2))
    assert replica.found("kettle") == ["a"]


def test_all_of_it_in_one_batch_ends_as_it_would_one_by_one(replica: Replica) -> None:
    first = assignment_of({0: 1}, title="kettle", source_offset=3)
    moved = assignment_of({0: 9}, title="kettle", source_offset=3)
    again = assignment_of({0: 11}, title="guitar", source_offset=5)
    replica.take(assigned("a", first, offset=0))
    replica.take(
        assigned("a", moved, offset=1),
        deleted("a", {0: 9}, offset=2, source_offset=4),
        assigned("a", again, offset=3),
        assigned("a", again.model_copy(update={"ids": moved.ids}), offset=4),
    )
    assert (replica.found("kettle"), replica.found("guitar")) == ([], ["a"])
    replica.take(assigned("a", again, offset=5), deleted("a", {0: 11}, offset=6, source_offset=6))
    assert replica.found("guitar") == []
