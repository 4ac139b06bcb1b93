"""All that a process searches: a shard, the live index, words, graph, click memory, and the weights that count.

A searcher has one that follows the logs; `trieflow replay answers` makes one that stands still at old positions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from agents.asked import Serving, Vector
from agents.dense_path import DenseFeed
from agents.lexical_path import LexicalPath
from agents.model_log import fusion_weights
from agents.searching import Searching
from models.bundles import Bundle
from models.encoders.base import EncoderDescription
from state.clicks.memory import ClickMemory
from state.live_documents import fill, live_changes
from state.live_index import LiveIndex
from state.records import LogRecord
from state.shard import Shard
from streams.errors import StateError
from streams.settings import Settings

log = structlog.get_logger()

REPAIRS_PER_RECORD = 4
"""Documents near leaves that changed, whose second leaf is chosen again for each record that comes in."""
_POLL_S = 0.01


class Searchable:
    """Filled from its shard by `fill` and `begin`, then kept up by `take`, in one thread; any thread searches."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        *,
        shard: Shard,
        encoder: EncoderDescription,
        hash_word: Callable[[str], str],
        as_query: Callable[[Vector], Vector],
    ) -> None:
        """Words and graph are kept below `folder`. `as_query`: of the encoder.

        Raises StateError when it cannot be opened.
        """
        self._stamp = encoder.stamp
        self.shard = shard
        self.index = LiveIndex(encoder.dimension)
        self.lexical = LexicalPath(settings, folder / "lexical", index=self.index, shard=shard)
        self.dense = DenseFeed(settings, folder / "dense", index=self.index, stamp=encoder.stamp)
        self.memory = ClickMemory(encoder.dimension, stamp=encoder.stamp)
        self.searching = Searching(
            settings,
            encoder=encoder,
            index=self.index,
            shard=shard,
            lexical=self.lexical.index,
            dense=self.dense,
            memory=self.memory,
            hash_word=hash_word,
            as_query=as_query,
        )
        self._serving: Serving | None = None
        self._bundle: str | None = None

    @property
    def serving(self) -> Serving | None:
        """The decoder that takes part."""
        return self._serving

    def fill(self) -> None:
        """Put all documents of the shard into the live index, which has its trees."""
        fill(self.index, self.shard, stamp=self._stamp, on_batch=self.dense.note)

    def begin(self) -> None:
        """Bring graph and words to where the live index is."""
        self.dense.load()
        self.lexical.start()

    def take(self, records: Sequence[LogRecord], timestamps: Mapping[tuple[int, int], int]) -> None:
        """Take in records of the log that the shard has. timestamps: (partition, offset) -> milliseconds."""
        changes = list(live_changes(records, stamp=self._stamp, timestamps=timestamps))
        with self.dense.following(changes):
            self.index.apply(changes)
        self.lexical.take(records)
        self.index.repair(REPAIRS_PER_RECORD * len(records))

    def use(self, bundle: Bundle | None) -> None:
        """Fuse as this bundle says; let its decoder take part, when it knows the active epoch.

        Call it now and then: how much the decoder counts follows from what came into the index. Raises ModelError.
        """
        if bundle is None:
            return
        reference, epoch, path = bundle.manifest.reference, self.index.active_epoch, self.index.active_path()
        if reference != self._bundle:
            self.searching.fuse_by(fusion_weights(bundle), bundle=reference)
            self._bundle = reference
        if epoch is None or path is None:
            return
        serving = self._serving
        if serving is None or (serving.reference, serving.epoch) != (reference, epoch):
            decoder = bundle.decoder(epoch=epoch) if bundle.manifest.codebook_epoch == epoch else None
            if decoder is None:
                self._serving = None
                self.searching.use(None)
                return
            self.index.learn(epoch, [decoder.nodes(level) for level in range(3)])
            serving = Serving(reference, epoch, decoder, 0.0)
            log.info("decoder serves", bundle=reference, epoch=epoch)
        self._serving = replace(serving, weight=serving.decoder.weight(path.younger()))
        self.searching.use(self._serving)

    def settle(self, *, timeout_s: float) -> None:
        """Wait until every path has all that was taken in. Raises StateError when one has not in time."""
        deadline = time.monotonic() + timeout_s
        flushed = self.lexical.index.flush(timeout_s=timeout_s)
        while flushed and self.dense.behind and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        if not flushed or self.dense.behind:
            raise StateError(f"the index was not ready within {timeout_s:.0f} s: {self.searching.behind()}")

    def close(self) -> None:
        """Close all of it, the shard too. Searches must have ended."""
        self.lexical.close()
        self.dense.close()
        self.shard.close()
