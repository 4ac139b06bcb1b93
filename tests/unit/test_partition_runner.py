"""What stands between batches gets its turn under a load that never pauses, and soon when nothing waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from agents import partition_runner
from agents.partition_runner import BUSY_BATCHES, PartitionRunner, RuntimeOptions
from streams.records import Record
from streams.settings import load_settings

BATCHES = 40
BATCH = 8


class Around:
    """A partition that always has more: each record that was handled is followed by another one."""

    settings = load_settings()
    options = RuntimeOptions(role="indexer", topics=("documents",), batch=BATCH)
    group = "group"

    def __init__(self) -> None:
        self.runner: PartitionRunner | None = None
        self.failure: BaseException | None = None
        self.feeding = True
        self.handled = 0
        self._next = 0

    def feed(self, count: int) -> None:
        assert self.runner is not None
        for _ in range(count):
            self.runner.put(Record(self.settings.topic("documents"), 0, self._next, b"key", b"value"))
            self._next += 1

    def freed(self) -> None: ...

    def crash(self, error: BaseException) -> None:
        self.failure = error

    def opened(self, partition: int, *, seconds: float) -> None: ...

    def handled_to(self, topic: str, partition: int, end: int) -> None:
        if self.feeding:
            self.feed(end - self.handled)
        self.handled = end

    def stable_end(self, topic: str, partition: int) -> int | None:
        return None

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        return work()


class Handler:
    """Notes the order of batches and of turns between them; the first `turns` of these want another one."""

    def __init__(self, turns: int) -> None:
        self.order: list[str] = []
        self._turns = turns

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def next_offsets(self) -> Mapping[str, int]:
        return {}

    async def handle(self, records: Sequence[Record]) -> None:
        self.order.append("batch")
        await asyncio.sleep(0)

    async def between_batches(self) -> bool:
        self.order.append("turn")
        await asyncio.sleep(0)
        return self.order.count("turn") < self._turns


@pytest.fixture(autouse=True)
def new_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Kafka would say of a new partition: nothing is committed, nothing is there."""
    for name in ("committed_offset", "end_offset"):
        monkeypatch.setattr(partition_runner, name, lambda *args, **kwargs: 0)


def test_a_load_that_never_pauses_keeps_nothing_from_its_turn() -> None:
    around, handler = Around(), Handler(turns=1_000)

    async def run() -> None:
        runner = around.runner = PartitionRunner(around, 0, handler)  # type: ignore[arg-type]
        around.feed(5 * BATCH)
        runner.start()
        while handler.order.count("batch") < BATCHES and around.failure is None:
            await asyncio.sleep(0)
        around.feeding = False
        await runner.stop()

    asyncio.run(run())
    assert around.failure is None
    turns = "".join(each[0] for each in handler.order).strip("t").split("t")
    assert max(map(len, turns)) <= BUSY_BATCHES, handler.order
    assert handler.order.count("turn") >= BATCHES // BUSY_BATCHES - 1


def test_when_nothing_waits_all_turns_come_one_after_the_other() -> None:
    around, handler = Around(), Handler(turns=20)

    async def run() -> None:
        runner = around.runner = PartitionRunner(around, 0, handler)  # type: ignore[arg-type]
        runner.start()
        while handler.order.count("turn") < 20:
            await asyncio.sleep(0.001)
        await runner.stop()

    asyncio.run(run())
    assert set(handler.order) == {"turn"}
