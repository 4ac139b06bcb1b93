"""What one step of a rollout counts: sessions of both arms, how they ended, and how answers went.

Sessions are counted once, when nothing came of them for some time: until then clicks may still change who won. Only
what was shown since the step began counts, so a shard that is made again from the logs counts the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal

import orjson

from state.clicks.ledger_rows import LedgerRows
from state.clicks.rows import ImpressionRow

Side = Literal["candidate", "incumbent"]
SIDES: tuple[Side, ...] = ("candidate", "incumbent")
_COUNTS = b"trial"


@dataclass(frozen=True)
class Step:
    """A step of a rollout. reference: `name@version` of the candidate; since: seconds since the epoch; slow_ms:
    answers that took longer are slow."""

    reference: str
    since: float
    slow_ms: float


@dataclass(slots=True)
class ArmCounts:
    """sessions: those that have ended; clicked: with a click. failed: answers that the other arm had to give."""

    sessions: int = 0
    clicked: int = 0
    answers: int = 0
    failed: int = 0
    slow: int = 0


@dataclass(slots=True)
class TrialCounts:
    """Of one step. scores: of the interleaved sessions that have ended, by who won: 1, 0, -1."""

    reference: str
    since: float
    candidate: ArmCounts = field(default_factory=ArmCounts)
    incumbent: ArmCounts = field(default_factory=ArmCounts)
    scores: list[int] = field(default_factory=list)

    def encode(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, value: bytes) -> TrialCounts:
        row = orjson.loads(value)
        return cls(**{**row, **{side: ArmCounts(**row[side]) for side in SIDES}})

    def of(self, side: Side) -> ArmCounts:
        return self.candidate if side == "candidate" else self.incumbent


@dataclass(slots=True)
class _Session:
    """side: None where both were shown. won: clicks on the candidate's hits less those on the incumbent's."""

    side: Side | None
    last: float
    clicks: int = 0
    won: int = 0

    def encode(self) -> bytes:
        return orjson.dumps([self.side, self.last, self.clicks, self.won])


class Trial:
    """Counts a batch. Without a step nothing is counted, and what was counted for another step is gone."""

    def __init__(self, rows: LedgerRows, step: Step | None) -> None:
        self._rows = rows
        self._step = step
        value = rows.rows.get("meta", _COUNTS)
        counts = None if value is None else TrialCounts.decode(value)
        if step is not None and (
            counts is None or (counts.reference, counts.since) != (step.reference, step.since)
        ):
            counts = TrialCounts(step.reference, step.since)
            self._drop_sessions()
        self.counts = None if step is None else counts
        self._sessions: dict[bytes, _Session] = {}

    def shown(self, row: ImpressionRow, took_ms: float | None) -> None:
        """Count an impression."""
        side = self._side(row)
        if self.counts is None or side is False or self._step is None:
            return
        if side is not None:
            arm = self.counts.of(side)
            arm.answers += 1
            arm.failed += row.arm == "fallback"
            arm.slow += took_ms is not None and took_ms > self._step.slow_ms
        session = self._session(row, side)
        session.last = max(session.last, row.at)

    def clicked(self, row: ImpressionRow, document_id: str) -> None:
        """Count a click on what an impression showed."""
        side = self._side(row)
        if self.counts is None or side is False:
            return
        session = self._session(row, side)
        session.clicks += 1
        session.won += _won(row, document_id)

    def unclicked(self, row: ImpressionRow, document_id: str) -> None:
        """Take a click back, as long as its session is not over."""
        side = self._side(row)
        if self.counts is None or side is False or not self._is_open(row):
            return
        session = self._session(row, side)
        session.clicks -= 1
        session.won -= _won(row, document_id)

    def finish(self, before: float) -> None:
        """Count the sessions in which nothing was shown since `before`, seconds since the epoch."""
        if self.counts is None:
            return
        for key, session in self._open():
            if session.last >= before:
                continue
            self._sessions.pop(key, None)
            self._rows.rows.put("sessions", key, None)
            if session.side is None:
                self.counts.scores.append((session.won > 0) - (session.won < 0))
            else:
                arm = self.counts.of(session.side)
                arm.sessions += 1
                arm.clicked += session.clicks > 0

    def put(self) -> None:
        """Add what changed to the rows of the batch."""
        for key, session in self._sessions.items():
            self._rows.rows.put("sessions", key, session.encode())
        if self.counts is not None:
            self._rows.rows.put("meta", _COUNTS, self.counts.encode())

    def _side(self, row: ImpressionRow) -> Side | Literal[False] | None:
        """Whose answer it was, None for both; False: it does not count here."""
        step = self._step
        if step is None or row.at < step.since:
            return False
        if row.arm == "active":
            return "incumbent"
        if row.arm == "fallback":
            return "candidate"
        if step.reference not in row.models:
            return False
        return None if row.arm == "interleaved" else "candidate"

    def _is_open(self, row: ImpressionRow) -> bool:
        key = _session_key(row)
        return key in self._sessions or self._rows.rows.get("sessions", key) is not None

    def _session(self, row: ImpressionRow, side: Side | None) -> _Session:
        key = _session_key(row)
        if key not in self._sessions:
            value = self._rows.rows.get("sessions", key)
            self._sessions[key] = _Session(side, row.at) if value is None else _Session(*orjson.loads(value))
        return self._sessions[key]

    def _open(self) -> Iterator[tuple[bytes, _Session]]:
        keys = (key for key, _ in self._rows.columns.items("sessions"))
        stored = {key: value for key in keys if (value := self._rows.rows.get("sessions", key)) is not None}
        found = {key: _Session(*orjson.loads(value)) for key, value in stored.items()}
        yield from list((found | self._sessions).items())

    def _drop_sessions(self) -> None:
        for key, _ in self._rows.columns.items("sessions"):
            self._rows.rows.put("sessions", key, None)


def _session_key(row: ImpressionRow) -> bytes:
    return (row.session or f"impression/{row.number}").encode()


def _won(row: ImpressionRow, document_id: str) -> int:
    """Whose hit it was: 1 the candidate's, -1 the incumbent's, 0 nobody's."""
    team = next((hit.team for hit in row.shown if hit.document_id == document_id), None)
    return (team == "candidate") - (team == "incumbent")
