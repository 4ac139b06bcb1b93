"""Opening a shard that may be missing, locked for a moment, too old, or of another cluster's log."""

from __future__ import annotations

import time
from pathlib import Path

import structlog
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from state.checkpoints import delete_shard, restore_checkpoint, save_checkpoint
from state.columns import ShardLockedError, SharedMemory
from state.shard import Shard
from streams.errors import StateError
from streams.settings import Settings

log = structlog.get_logger()

CLUSTER, STAMP = "cluster", "stamp"
_LOCK_WAIT_S = 20.0


def open_shard(
    path: Path,
    *,
    settings: Settings,
    cluster: str,
    stamp: str,
    memory: SharedMemory | None = None,
    checkpoint: Path | None = None,
) -> Shard:
    """Open the shard at `path`; a missing one is restored from its checkpoint where there is one.

    One that cannot be trusted is deleted first, the log rebuilds it: a shard older than the log's tombstone
    retention (it would keep what was deleted), one of another cluster, one of another encoder. Raises
    StateError when it is locked for longer than 20 s.
    """
    if checkpoint is not None and checkpoint.exists() and not path.exists():
        _restore(checkpoint, path)
    shard = _open(path, settings, memory)
    reason = _distrust(shard, settings, cluster=cluster, stamp=stamp)
    if reason:
        shard.close()
        log.warning("shard deleted, the log rebuilds it", path=str(path), reason=reason)
        delete_shard(path)
        shard = _open(path, settings, memory)
    shard.meta_put(CLUSTER, cluster)
    shard.meta_put(STAMP, stamp)
    return shard


def _restore(checkpoint: Path, path: Path) -> None:
    try:
        note = restore_checkpoint(checkpoint, path)
        log.info("checkpoint restored", path=str(path), positions=note.positions)
    except StateError as error:  # the log has it all: a damaged copy only costs time
        log.warning("checkpoint not used", path=str(path), reason=str(error))


class CheckpointSaver:
    """Copies one shard now and then, as the settings say. Called from the thread that writes the shard."""

    def __init__(self, settings: Settings, *, name: str) -> None:
        folder = settings.checkpoints.folder
        self.folder = None if folder is None else folder / name
        self._every_s = settings.checkpoints.every_s
        self._saved_at = time.monotonic()
        self._saved: dict[int, int] = {}

    @property
    def is_due(self) -> bool:
        return self.folder is not None and time.monotonic() - self._saved_at >= self._every_s

    def save(self, shard: Shard) -> None:
        """Copy what is new since the last copy. A failing copy is told, and stops nothing."""
        self._saved_at = time.monotonic()
        if self.folder is None or shard.positions() == self._saved:
            return
        try:
            self._saved = save_checkpoint(shard, self.folder).positions
        except (OSError, StateError) as error:
            log.warning("checkpoint failed", folder=str(self.folder), reason=str(error))


@retry(
    retry=retry_if_exception_type(ShardLockedError),
    stop=stop_after_delay(_LOCK_WAIT_S),
    wait=wait_fixed(0.2),
    reraise=True,
)
def _open(path: Path, settings: Settings, memory: SharedMemory | None) -> Shard:
    # An owner that is just leaving holds the LOCK for a moment.
    return Shard.open(path, memory=memory, sync=settings.indexer.sync_writes)


def _distrust(shard: Shard, settings: Settings, *, cluster: str, stamp: str) -> str | None:
    written_at = shard.written_at()
    if written_at is not None and time.time() - written_at > settings.retention.tombstones_h * 3_600:
        return "older than the tombstone retention"
    if shard.meta_get(CLUSTER) not in (None, cluster):
        return "of another Kafka cluster"
    if shard.meta_get(STAMP) not in (None, stamp):
        return f"of another encoder ({shard.meta_get(STAMP)})"
    return None
