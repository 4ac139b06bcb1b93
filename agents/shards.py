"""Opening a shard that may be missing, locked for a moment, too old, or of another cluster's log."""

from __future__ import annotations

import time
from pathlib import Path

import structlog
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from state.checkpoints import delete_shard
from state.columns import ShardLockedError, SharedMemory
from state.shard import Shard
from streams.settings import Settings

log = structlog.get_logger()

CLUSTER, STAMP = "cluster", "stamp"
_LOCK_WAIT_S = 20.0


def open_shard(
    path: Path, *, settings: Settings, cluster: str, stamp: str, memory: SharedMemory | None = None
) -> Shard:
    """Open the shard at `path`; one that cannot be trusted is deleted first, the log rebuilds it.

    Not to be trusted: a shard older than the log's tombstone retention (it would keep what was deleted), one of
    another cluster, one of another encoder. Raises StateError when it is locked for longer than 20 s.
    """
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
