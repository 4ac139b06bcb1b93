"""The index as it was for an old answer, made again from the logs in a folder of its own.

`assignments`, `codebooks` and `click-memory` are compacted: of a key that was written again, the older records go,
and what it held at an old position is not known any more. Such a key shows by its first record being later, where
offsets before the position are missing. The ends of transactions are missing offsets too: it is "at most" so many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from agents.assignment_log import read_log, read_log_record
from agents.click_log import ClickLog
from agents.codebook_log import CodebookLog, Codebooks
from agents.content_store import ContentStore
from agents.encoding import EncodingService
from agents.epochs import PROVISIONAL
from agents.keyed_hashes import KEY_FILE, KeyedHashes
from agents.model_log import FOLDER
from agents.searchable import Searchable
from agents.trees import IndexTrees
from models.bundles import Bundle, BundleStore
from models.ranking.ranker import NOTHING_LEARNED, Ranker
from state.shard import Shard
from state.warm_up import warm_up
from streams.errors import ModelError
from streams.events.assignments import CONTROL_PREFIX
from streams.events.base import LogPosition
from streams.events.codebooks import parse_key
from streams.records import Record, read_to_end
from streams.settings import Settings
from trieflow.cluster import Cluster
from trieflow.old_answers import Advance, GoneError, OldAnswer, Progress

_SETTLED_S = 3_600.0
"""The graph of a million documents takes some minutes."""


@dataclass
class Compacted:
    """What compaction may have taken of what a topic said at a position.

    missing: offsets up to the position at which nothing stands. later: keys that are read behind it alone.
    """

    missing: int = 0
    later: set[str] = field(default_factory=set)

    @property
    def at_most(self) -> int:
        """So many keys may have stood there in another form."""
        return min(self.missing, len(self.later))


@dataclass
class OldIndex:
    """The index at the positions of an old answer, and by topic what of it is not known."""

    held: Searchable
    codebooks: Codebooks
    compacted: Mapping[str, Compacted]
    rankers: Sequence[Ranker]
    """By which it was answered; of an interleaved answer two."""
    _settings: Settings

    def go_on_to(self, since: Sequence[LogPosition], until: Sequence[LogPosition]) -> None:
        """Take in what came into the log behind `since`, up to `until`, inclusive."""
        reached = _ends(since)
        for partition, end in _ends(until).items():
            start = reached.get(partition, 0)
            for batch, records in read_log(self._settings, partition=partition, start=start, end=end):
                self.held.shard.apply(records)
                self.held.take(records, _times(batch))
        self.held.settle(timeout_s=_SETTLED_S)


@contextmanager
def old_index(
    settings: Settings, answer: OldAnswer, encoding: EncodingService, *, progress: Progress
) -> Iterator[OldIndex]:
    """Make the index again as it was for an answer. Raises GoneError, BrokerError, StateError, ModelError.

    It takes the memory and the time of a searcher that starts without its folder.
    """
    dimension = encoding.description.dimension
    bundle, rankers = _bundle(settings, answer), _rankers(settings, answer, dimension)
    with TemporaryDirectory(prefix="trieflow-replay-") as folder:
        shard = Shard.open(Path(folder) / "replica")
        held = Searchable(
            settings,
            Path(folder),
            shard=shard,
            encoder=encoding.description,
            hash_word=_hash_word(settings),
            as_query=encoding.as_query,
        )
        try:
            warm_up()
            documents = _fold(settings, shard, answer.fresh_to, progress)
            codebooks, leaves = _trees(settings, held, answer, stamp=encoding.description.stamp)
            held.fill()
            held.begin()
            held.index.activate(answer.epoch)
            clicks = _remember(settings, held, answer.memory_offset)
            held.use(bundle)
            held.settle(timeout_s=_SETTLED_S)
            compacted = {"assignments": documents, "codebooks": leaves, "click-memory": clicks}
            yield OldIndex(held, codebooks, compacted, rankers, settings)
        finally:
            held.close()


def _fold(settings: Settings, shard: Shard, fresh_to: Sequence[LogPosition], progress: Progress) -> Compacted:
    """Read `assignments` into the shard up to where it was, and note what stands behind."""
    compacted, ends = Compacted(), _ends(fresh_to)
    places = [(settings.topic("assignments"), partition) for partition in range(settings.partitions)]
    total = sum(Cluster(settings).ends(places).values())
    with progress("reading the index log", total) as advance:
        for topic, partition in places:
            end = ends.get(partition, 0)
            count = 0
            for batch in read_to_end(settings, topic=topic, partition=partition, start=0):
                before = [record for record in batch if record.offset < end]
                shard.apply([read_log_record(record) for record in before])
                count += len(before)
                _note_later(compacted, shard, batch[len(before) :])
                _tell(advance, len(batch))
            compacted.missing += end - count
    return compacted


def _note_later(compacted: Compacted, shard: Shard, records: Sequence[Record]) -> None:
    keys = {(record.key or b"").decode() for record in records}
    compacted.later |= {
        key for key in keys if not key.startswith(CONTROL_PREFIX) and shard.stored(key) is None
    }


def _trees(
    settings: Settings, held: Searchable, answer: OldAnswer, *, stamp: str
) -> tuple[Codebooks, Compacted]:
    """The trees as they were, and which leaves of the answer's epoch are read behind alone."""
    codebook_log = CodebookLog(
        settings, ContentStore(settings.content_store), stamp=stamp, keeper=IndexTrees(held.index)
    )
    end = answer.codebook_offset + 1
    try:
        codebook_log.read_to(end)
    except ModelError as error:
        raise GoneError(f"a tree is gone: {error}") from error
    codebooks = codebook_log.current
    if answer.mode == "generative" and answer.epoch not in (PROVISIONAL, *codebooks.trees):
        raise GoneError(f"the tree of epoch {answer.epoch} is gone: only live epochs are kept")
    records = _keys(settings, "codebooks", end)
    leaves = Compacted(missing=end - len(records[0]))
    for key in set(records[1]) - set(records[0]):
        named = parse_key(key)
        if named.epoch == answer.epoch and named.leaf is not None:
            leaves.later.add(key.decode())
    return codebooks, leaves


def _remember(settings: Settings, held: Searchable, offset: int) -> Compacted:
    """The click memory as it was."""
    clicks = ClickLog(settings, held.memory)
    compacted, known, count = Compacted(), set[bytes](), 0
    for record in _records(settings, "click-memory"):
        if record.offset <= offset:
            clicks.take(record)
            known.add(record.key or b"")
            count += 1
        elif record.key not in known:
            compacted.later.add((record.key or b"").decode())
    compacted.missing = offset + 1 - count
    return compacted


def _keys(settings: Settings, name: str, end: int) -> tuple[list[bytes], list[bytes]]:
    """The keys of the records before `end`, and of those from it on."""
    before, behind = list[bytes](), list[bytes]()
    for record in _records(settings, name):
        (before if record.offset < end else behind).append(record.key or b"")
    return before, behind


def _records(settings: Settings, name: str) -> Iterator[Record]:
    batches = read_to_end(settings, topic=settings.topic(name), partition=0, start=0)
    return chain.from_iterable(batches)


def _bundle(settings: Settings, answer: OldAnswer) -> Bundle | None:
    return None if answer.bundle is None else _read(settings, answer, answer.bundle)


def _rankers(settings: Settings, answer: OldAnswer, dimension: int) -> list[Ranker]:
    bundles = [_read(settings, answer, reference) for reference in answer.adapters]
    try:
        known = [Ranker.from_files(each.files, dimension=dimension) for each in bundles]
    except ModelError as error:
        raise GoneError(f"the weights that counted cannot be read: {error}") from error
    if answer.interleaved and len(known) == 1:
        return [NOTHING_LEARNED, *known]
    return known or [NOTHING_LEARNED]


def _read(settings: Settings, answer: OldAnswer, reference: str) -> Bundle:
    try:
        store = BundleStore(f"{settings.content_store}/{FOLDER}")
        return store.read(reference, stamp=answer.stamp or "")
    except ModelError as error:
        raise GoneError(f"the weights that counted are gone: {error}") from error


def _hash_word(settings: Settings) -> Callable[[str], str]:
    """How words are called in the memory; without the key, which is not made here, none is known."""
    has_key = settings.privacy.user_hash_key is not None or (settings.data / KEY_FILE).exists()
    return KeyedHashes(settings).word if has_key else str


def _ends(positions: Sequence[LogPosition]) -> dict[int, int]:
    """By partition the first offset behind positions that are inclusive."""
    return {each.partition: each.offset + 1 for each in positions}


def _times(batch: Sequence[Record]) -> dict[tuple[int, int], int]:
    return {(record.partition, record.offset): record.timestamp_ms for record in batch}


def _tell(advance: Advance, count: int) -> None:
    for _ in range(count):
        advance()
