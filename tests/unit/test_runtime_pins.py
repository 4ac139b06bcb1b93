"""What `agents/faust_app.py` relies on inside Faust, mode and aiokafka, none of it promised by them.

When one of these fails after an upgrade, read the place that the message names, mend `agents/faust_app.py`, and run
`pytest tests/recovery -k runtime -m recovery`: those tests show whether anything is lost.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiokafka
import mode
import pytest
from aiokafka import ConsumerRecord
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.app.base import App as FaustApp
from faust.assignor import PartitionAssignor
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer, ConsumerThread, ThreadDelegateConsumer
from faust.transport.drivers import aiokafka as driver
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP

from agents import faust_app
from agents.faust_app import HandledConsumer, build_app, kafka_consumer
from streams.settings import load_settings


class Silent:
    """Callbacks that are not called: no app is started here."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was called")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FaustApp]:
    """An app that is never started, on an event loop that does not run."""
    settings = load_settings(brokers="127.0.0.1:1", data=str(tmp_path), partitions="3")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    pinned = build_app(settings, Silent(), role="pinned", topics=("documents",))  # type: ignore[arg-type]
    yield pinned
    pinned.consumer._thread.thread_loop.close()
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.parametrize(
    ("package", "checked"),
    [("faust-streaming", "0.15.3"), ("mode-streaming", "0.7."), ("aiokafka", "0.14.")],
)
def test_the_losses_of_faust_were_looked_for_in_this_version(package: str, checked: str) -> None:
    found = version(package)
    assert found.startswith(checked), (
        f"{package} {found} was never examined. Read the changes since {checked}, compare each line of the table "
        "in docs/adr/0002-safe-faust-subset.md with the new source, run the recovery tests, then change this test."
    )


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (FaustApp._on_partitions_revoked, ["self", "revoked"]),
        (FaustApp._on_partitions_assigned, ["self", "assigned", "generation_id"]),
        (FaustApp.on_start, ["self"]),
        (FaustApp.on_stop, ["self"]),
        (Consumer.getmany, ["self", "timeout"]),
        (Consumer._wait_next_records, ["self", "timeout"]),
        (ThreadDelegateConsumer._getmany, ["self", "active_partitions", "timeout"]),
        (Consumer.perform_seek, ["self"]),
        (DefaultSchedulingStrategy.iterate, ["self", "records"]),
        (Consumer._new_offset, ["self", "tp"]),
        (Consumer._filter_tps_with_pending_acks, ["self", "topics"]),
        (Recovery._resume_streams, ["self", "generation_id"]),
        (PartitionAssignor.assign, ["self", "cluster", "member_metadata"]),
        (mode.Worker._gather_all, ["self"]),
        (mode.Worker._sentinel_task, ["self"]),
        (mode.Service.crash, ["self", "reason"]),
        (mode.Service.add_future, ["self", "coro"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_what_we_override_or_call_takes_the_same(function: Callable[..., Any], expected: list[str]) -> None:
    assert parameters(function) == expected, f"{function.__qualname__} changed: see agents/faust_app.py"


@pytest.mark.parametrize(
    ("function", "words", "reason"),
    [
        (Consumer._filter_committable_offsets, ["_new_offset(tp)", "_should_commit"], "what is committed"),
        (Consumer.force_commit, ["_filter_tps_with_pending_acks", "_commit_tps"], "what is committed"),
        (Consumer.wait_empty, ["_unacked_messages", "commit_and_end_transactions"], "stops"),
        (Consumer._drain_messages, ["getmany(timeout=", "async for"], "what is fetched comes by `getmany`"),
        (Consumer.getmany, ["_wait_next_records", "flow_active", "perform_seek"], "ours does what it does"),
        (Consumer._wait_next_records, ["self._getmany(", "active_partitions=active_partitions"], "room"),
        (Fetcher.fetched_records, ["if partitions and tp not in partitions"], "others keep their records"),
        (FaustApp._stop_consumer, ["_consumer_wait_empty"], "a stop waits for what runs, then commits"),
        (FaustApp._on_partitions_revoked, ["flow_control.clear", "_consumer_wait_empty"], "rebalances"),
        (
            FaustApp._new_consumer,
            ["_on_partitions_revoked", "_on_partitions_assigned"],
            "our overrides are called",
        ),
        (
            Recovery._resume_streams,
            ["perform_seek", "resume_flow", "on_rebalance_end"],
            "dropped events come again",
        ),
        (Recovery._restart_recovery.fun, ["_resume_streams"], "the way without tables"),
        (
            ConsumerThread.on_partitions_revoked,
            ["threadsafe_partitions_revoked"],
            "callbacks run on our loop",
        ),
        (
            driver.AIOKafkaConsumerThread._create_worker_consumer,
            ["aiokafka.AIOKafkaConsumer("],
            "ours is made",
        ),
        (driver.AIOKafkaConsumerThread._create_worker_consumer, ["app.assignor"], "the assignor is ours"),
        (
            driver.ConsumerRebalanceListener.on_partitions_revoked,
            ["on_rebalance_start"],
            "`rebalancing` is set",
        ),
        (FaustApp.on_rebalance_start, ["rebalancing = True"], "the watchdog sees rebalances"),
        (FaustApp.on_rebalance_end, ["rebalancing = False"], "the watchdog sees rebalances"),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_faust_still_goes_the_way_that_we_stand_in(
    function: Callable[..., Any], words: list[str], reason: str
) -> None:
    source = inspect.getsource(function)
    missing = [word for word in words if word not in source]
    assert not missing, (
        f"{function.__qualname__} has no {missing} any more ({reason}): see agents/faust_app.py"
    )


@pytest.mark.parametrize(
    ("owner", "attributes"),
    [
        (GroupCoordinator, ["_pending_exception", "_coordination_task", "member_id", "_group_instance_id"]),
        (Fetcher, ["_fetch_task", "_fetch_min_bytes", "_fetch_max_wait_ms"]),
        (aiokafka.AIOKafkaConsumer, ["_coordinator", "_fetcher"]),
        (Consumer, ["_committed_offset"]),
        (ThreadDelegateConsumer, ["_thread"]),
        (driver.AIOKafkaConsumerThread, ["_consumer"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_the_watchdog_reads_is_still_there(owner: type, attributes: list[str]) -> None:
    source = inspect.getsource(owner)
    missing = [
        name for name in attributes if f"self.{name} = " not in source and f"    {name}: " not in source
    ]
    assert not missing, f"{owner.__name__} has no {missing} any more: see `_watch` in agents/faust_app.py"


def test_the_heartbeats_of_aiokafka_do_not_name_the_member() -> None:
    """Once they do, a worker whose name is taken over is fenced by the broker; the watchdog can do less."""
    assert "_group_instance_id" not in inspect.getsource(GroupCoordinator._do_heartbeat)


def test_aiokafka_starts_its_heartbeats_after_the_callback_of_an_assignment() -> None:
    """Why `Runtime.assigned` waits for nothing."""
    source = inspect.getsource(GroupCoordinator.ensure_active_group)
    assert source.index("_do_rejoin_group(") < source.index("_start_heartbeat_task(")


def test_the_app_has_the_settings_of_the_safe_subset(app: FaustApp) -> None:
    conf = app.conf
    assert conf.processing_guarantee.value == "at_least_once"
    assert conf.stream_wait_empty, "B4"
    assert not conf.topic_allow_declare
    assert conf.topic_disable_leader
    assert conf.table_standby_replicas == 1, "Faust takes our assignor only then"
    assert conf.broker_max_poll_interval >= 86_400, "aiokafka leaves the group for ever otherwise"
    assert conf.broker_session_timeout <= conf.broker_request_timeout
    assert len(app.tables) == 0, "B5: no Faust tables"


def test_the_app_is_put_together_of_our_parts(app: FaustApp) -> None:
    consumer = app.consumer
    assert isinstance(consumer, HandledConsumer)
    assert kafka_consumer(app) is None, "not started"
    assert aiokafka.AIOKafkaConsumer.__name__ == "_QuickConsumer"
    assert app.assignor.partitions == 3
    assert {name for topic in app.topics for name in topic.topics} == {"trieflow.documents"}
    assert len(app.agents) == 0, "records go past the streams of Faust"


def test_the_consumer_commits_what_was_handled_once(app: FaustApp) -> None:
    consumer = app.consumer
    app.handled_to("t", 0, 5)
    assert consumer._filter_committable_offsets([TP("t", 0)]) == {TP("t", 0): 5}
    assert consumer._filter_committable_offsets([TP("t", 0)]) == {}


def test_an_older_event_handled_again_takes_nothing_back(app: FaustApp) -> None:
    for end in (8, 4):
        app.handled_to("t", 0, end)
    assert app.consumer._filter_committable_offsets([TP("t", 0)]) == {TP("t", 0): 8}


class Fetching:
    """Callbacks that note what is delivered; some partitions are full, until somebody waits while all are."""

    def __init__(self, *full: int) -> None:
        self.delivered: list[tuple[str, int, int]] = []
        self.full = set(full)

    def has_room(self, partition: int) -> bool:
        return partition not in self.full

    async def room(self) -> None:
        if self.full == {0, 1}:
            self.full = {0}

    def deliver(self, fetched: ConsumerRecord) -> None:
        self.delivered.append((fetched.topic, fetched.partition, fetched.offset))


PLACES = (TP("t", 0), TP("u", 0))


@pytest.mark.parametrize(
    ("flows", "active", "delivered"),
    [
        (True, set(PLACES), [("t", 0, 3), ("u", 0, 3), ("t", 0, 4), ("u", 0, 4)]),
        (True, {TP("u", 0)}, [("u", 0, 3), ("u", 0, 4)]),
        (False, set(PLACES), []),
    ],
    ids=["all, in turns", "active partitions", "partitions move"],
)
def test_what_is_fetched_is_handed_over_past_the_streams(
    app: FaustApp, flows: bool, active: set[TP], delivered: list[tuple[str, int, int]]
) -> None:
    consumer, callbacks, sought = app.consumer, Fetching(), []
    fetched = {tp: [SimpleNamespace(**tp._asdict(), offset=offset) for offset in (3, 4)] for tp in PLACES}

    async def wait_next_records(timeout: float) -> tuple[object, set[TP]]:
        consumer.flow_active = flows
        return fetched, active

    async def perform_seek() -> None:
        sought.append(True)

    async def fetch() -> list[object]:
        return [each async for each in consumer.getmany(0.01)]

    app.callbacks = callbacks
    consumer._wait_next_records, consumer.perform_seek = wait_next_records, perform_seek
    assert app.loop.run_until_complete(fetch()) == [], "nothing is left for the loop of Faust"
    assert callbacks.delivered == delivered
    assert bool(sought) == (not flows), "what is not taken is fetched again"


@pytest.mark.parametrize(
    ("full", "active", "asked"),
    [
        ((), {0, 1}, ({0, 1}, 5.0)),
        ((0,), {0, 1}, ({1}, faust_app._LOOK_AGAIN_S)),
        ((0, 1), {0, 1}, ({1}, faust_app._LOOK_AGAIN_S)),
        ((0,), {0}, None),
    ],
    ids=["all have room", "one is full", "all are full", "that alone is active"],
)
def test_partitions_that_are_full_are_left_where_they_are(
    app: FaustApp, full: tuple[int, ...], active: set[int], asked: tuple[set[int], float] | None
) -> None:
    seen: list[tuple[set[int], float]] = []

    async def getmany(active_partitions: set[TP], timeout: float) -> dict[TP, object]:
        seen.append(({tp.partition for tp in active_partitions}, timeout))
        return {}

    app.callbacks, app.consumer._thread.getmany = Fetching(*full), getmany
    assert app.loop.run_until_complete(app.consumer._getmany({TP("t", n) for n in active}, 5.0)) == {}
    assert seen == ([] if asked is None else [asked])
