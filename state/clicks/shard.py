"""The learner's shard: one RocksDB with impressions, what is remembered, and how far both logs were taken in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from state.clicks.ledger import Ledger
from state.clicks.ledger_rows import ColumnName, LedgerState
from state.clicks.profiles import Chosen
from state.clicks.rows import ImpressionRow, Remembered
from state.clicks.trial import Step
from state.columns import Columns
from state.rows import applied_key, decode_number, encode_number
from streams.errors import StateError
from streams.headers import now_ms
from streams.settings import LearningSettings, PersonalSettings

SCHEMA_VERSION = 2
_SCHEMA, _CLUSTER, _STAMP, _WRITTEN_AT = b"schema", b"cluster", b"stamp", b"written_at"


class ClickShard:
    """One thread at a time writes. Lost, it is made again from what `impressions` and `feedback` still hold."""

    def __init__(
        self,
        path: Path,
        settings: LearningSettings,
        *,
        cluster: str,
        stamp: str,
        max_age_s: float = math.inf,
        personal: PersonalSettings | None = None,
    ) -> None:
        """Open it; made when missing. `stamp`: of the encoder whose queries are remembered. `personal`: None keeps
        no profiles of users.

        Raises StateError when it is damaged, of another schema, cluster or encoder, or not written to for longer
        than `max_age_s`: what was to be forgotten since may no longer stand in the log.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._settings = settings
        self._stamp = stamp
        self._personal = personal
        self._columns: Columns[ColumnName] = Columns(path, get_args(ColumnName))
        expected = {_SCHEMA: b"%d" % SCHEMA_VERSION, _CLUSTER: cluster.encode(), _STAMP: stamp.encode()}
        found = {key: self._columns.get("meta", key) for key in expected}
        if found[_SCHEMA] is not None and found != expected:
            self._columns.close()
            raise StateError(
                f"{path} is of another schema, cluster or encoder: delete the folder, the logs rebuild it"
            )
        written_ms = decode_number(self._columns.get("meta", _WRITTEN_AT), now_ms())
        if now_ms() - written_ms > max_age_s * 1_000:
            self._columns.close()
            raise StateError(f"{path} is too old to be trusted: delete the folder, the logs rebuild it")
        ledger = self.ledger()
        mutations = ledger.mutations()
        mutations.columns["meta"].update(expected)
        self._columns.write(mutations)

    def ledger(self, step: Step | None = None) -> Ledger:
        """For one batch of events. `step`: of the rollout that is counted."""
        return Ledger(self._columns, self._settings, stamp=self._stamp, step=step, personal=self._personal)

    def write(self, ledger: Ledger, *, applied: Mapping[tuple[str, int], int]) -> None:
        """All that a batch came to, and the offsets, by topic and partition, up to which events are in it."""
        mutations = ledger.mutations()
        for (topic, partition), offset in applied.items():
            mutations.columns["meta"][_applied_key(topic, partition)] = encode_number(offset)
        mutations.columns["meta"][_WRITTEN_AT] = encode_number(now_ms())
        self._columns.write(mutations)

    def applied(self, topic: str, partition: int) -> int:
        """The highest offset that was taken in, -1 when none."""
        return decode_number(self._columns.get("meta", _applied_key(topic, partition)), -1)

    def compact(self) -> None:
        """Rewrite the files, so that nothing of what was deleted is left in them. Takes seconds at 200,000 rows."""
        self._columns.compact()

    @property
    def state(self) -> LedgerState:
        return self.ledger().state

    def remembered(self) -> Iterator[tuple[str, Remembered]]:
        """All that is remembered, by key."""
        for key, value in self._columns.items("memory"):
            yield key.decode(), Remembered.decode(value)

    def impressions(self) -> Iterator[tuple[str, ImpressionRow]]:
        """All impressions that are kept, by query id."""
        for key, value in self._columns.items("impressions"):
            yield key.decode(), ImpressionRow.decode(value)

    def profiles(self) -> Iterator[tuple[str, Sequence[Chosen]]]:
        """What each user chose lately, by user."""
        ledger = self.ledger()
        for key, _ in self._columns.items("profiles"):
            yield key.decode(), ledger.profiles.of(key.decode())

    def close(self) -> None:
        self._columns.close()


def _applied_key(topic: str, partition: int) -> bytes:
    return applied_key(f"{topic}/{partition}")
