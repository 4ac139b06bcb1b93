"""A process that writes the lexical index from a log, to be killed: `python -m tests.recovery.lexical_writer F N`.

The log is made of numbers alone, so that the test knows it too; F is the folder, N how far the shard is ahead.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from pathlib import Path

from state.lexical import LexicalChange, LexicalDocument, LexicalIndex, LexicalRemoval

LENGTH = 6_000
DOCUMENTS = 150
WORDS = tuple(f"word{number}" for number in range(40))


def record(offset: int) -> LexicalChange:
    """The record of the log at an offset; the slot of a document is its number."""
    chosen = random.Random(offset)
    slot = chosen.randrange(DOCUMENTS)
    if chosen.random() < 0.3:
        return LexicalRemoval(f"d{slot}")
    return LexicalDocument(f"d{slot}", slot, title=" ".join(chosen.sample(WORDS, 4)), language="pl")


def documents_at(end: int) -> Mapping[int, LexicalDocument]:
    """What the log before `end` comes to, by slot."""
    documents: dict[str, LexicalDocument] = {}
    for change in map(record, range(end)):
        documents.pop(change.document_id, None)
        if isinstance(change, LexicalDocument):
            documents[change.document_id] = change
    return {document.slot: document for document in documents.values()}


def opened(folder: Path, *, shard_ahead: int) -> LexicalIndex:
    """The index, with the documents of a shard that is so many records ahead of it, as it is after a start."""
    index = LexicalIndex(folder, commit_every_s=0.0)
    shard_at = min(LENGTH, index.positions.get(0, 0) + shard_ahead)
    index.attach((document.document_id, slot) for slot, document in documents_at(shard_at).items())
    return index


def read_log(index: LexicalIndex, *, until: int) -> None:
    """Feed the log from where the index stands, in batches of changing size."""
    offset = index.positions.get(0, 0)
    while offset < until:
        end = min(until, offset + random.Random(offset).randrange(1, 40))
        index.apply([record(each) for each in range(offset, end)], positions={0: end})
        offset = end


if __name__ == "__main__":
    written = opened(Path(sys.argv[1]), shard_ahead=int(sys.argv[2]))
    print("open", flush=True)
    read_log(written, until=LENGTH)
    written.flush(timeout_s=120)
    print("done", flush=True)
    sys.stdin.read()
