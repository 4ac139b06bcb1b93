"""`trieflow bench learner`: how many events a learner takes in, and whether settings bound its memory.

Impressions of ten hits and their feedback are written to an embedded Kafka beforehand; then a learner, a worker
process as `trieflow up` starts it, reads until it has acknowledged all. For each size of the log: events a second
by the clock and for a second of its CPU, its resident memory when the first batch was acknowledged and at the end,
its folder on disk. `--alone` takes the same events in without Kafka: decoding, counting, records, RocksDB.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from agents.interpreter import collect_seldom
from benchmarks.learner_events import Made, Traffic, write
from benchmarks.learning.progress import ROLE, learner_process, outcomes
from benchmarks.soaking.workers import kafka
from benchmarks.tables import keep, markdown
from models.encoders.registry import describe_encoder
from state.clicks.shard import ClickShard
from streams.codec import decode_body, decode_key
from streams.errors import BrokerError, TrieflowError
from streams.events.impressions import Feedback, Impression
from streams.headers import IncomingHeaders
from streams.settings import LearningSettings, Settings
from trieflow.cluster import Cluster, Place
from trieflow.supervisor import Supervisor, WorkerName

ENCODER = "hash"
IMPRESSIONS = (20_000, 100_000)
KEPT = 10_000
QUERIES = 5_000
_LOOK_S = 0.2
_MIB = 2**20


@dataclass(frozen=True)
class Taken:
    """One learner over one log. mib: resident memory, first and last; cpu_s: of all its threads."""

    impressions: int
    events: int
    seconds: float
    cpu_s: float
    mib_first: float
    mib_last: float
    mib_most: float
    folder_mib: float
    outcomes: Mapping[str, int]

    @property
    def per_s(self) -> float:
        return self.events / self.seconds

    @property
    def per_cpu_s(self) -> float:
        return self.events / self.cpu_s


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run it. Writes `benchmarks/results/learner.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench learner", description=__doc__)
    parser.add_argument(
        "--impressions",
        type=int,
        nargs="+",
        default=IMPRESSIONS,
        help="sizes of the log (default %(default)s)",
    )
    parser.add_argument("--feedback-each", type=int, default=1, help="one click for so many lists")
    parser.add_argument("--queries", type=int, default=QUERIES, help="that are asked (default %(default)s)")
    parser.add_argument(
        "--kept",
        type=int,
        default=KEPT,
        help="learning.impressions, smaller than the log (default %(default)s)",
    )
    parser.add_argument("--alone", action="store_true", help="without Kafka, in this process")
    parser.add_argument("--profile", action="store_true", help="with --alone: where the time goes")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/learner.json")
    options = parser.parse_args(list(arguments))
    if options.alone:
        _alone(options)
        return
    found = []
    for impressions in options.impressions:
        found.append(measure(_traffic(impressions, options), kept=options.kept))
        print(markdown(*_table(found[-1:])), flush=True)
    print("\n" + markdown(*_table(found)))
    if options.keep:
        print(f"kept in {keep('learner', 'learner', [asdict(each) for each in found])}")


def _traffic(impressions: int, options: argparse.Namespace) -> Traffic:
    stamp = describe_encoder(ENCODER).stamp
    return Traffic(impressions, options.queries, stamp, feedback_each=options.feedback_each)


def measure(traffic: Traffic, *, kept: int) -> Taken:
    """One learner over one log, from its first acknowledged batch to the last. Raises TrieflowError."""
    values = {"encoder": ENCODER, "learning__impressions": str(kept)}
    with (
        tempfile.TemporaryDirectory(prefix="trieflow-learner-") as folder,
        kafka(Path(folder), values) as settings,
    ):
        write(settings, traffic)
        acknowledged = _Acknowledged(settings)
        with _learner(settings) as process:
            first = acknowledged.wait_for(1)
            started, cpu, mib = time.perf_counter(), _cpu_s(process), [_mib(process)]
            while acknowledged.count() < traffic.events:
                mib.append(_mib(process))
                time.sleep(_LOOK_S)
            return Taken(
                impressions=traffic.impressions,
                events=traffic.events - first,
                seconds=time.perf_counter() - started,
                cpu_s=_cpu_s(process) - cpu,
                mib_first=mib[0],
                mib_last=_mib(process),
                mib_most=max(mib),
                folder_mib=_folder_mib(settings.role_folder(ROLE)),
                outcomes=outcomes(settings),
            )


@contextmanager
def _learner(settings: Settings) -> Iterator[psutil.Process]:
    """A learner as `trieflow up` starts it."""
    supervisor = Supervisor(settings, [WorkerName(ROLE, "0")], print)
    supervisor.tick()
    try:
        yield _when_there(settings)
    finally:
        supervisor.stop()


def _when_there(settings: Settings, *, within_s: float = 120.0) -> psutil.Process:
    deadline = time.monotonic() + within_s
    while True:
        try:
            return psutil.Process(learner_process(settings).pid)
        except TrieflowError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_S)


class _Acknowledged:
    """How many events the learner's group has acknowledged."""

    def __init__(self, settings: Settings) -> None:
        self._cluster = Cluster(settings)
        self._group = settings.prefix + ROLE
        self._places: list[Place] = [
            (settings.topic(name), partition)
            for name in ("impressions", "feedback")
            for partition in range(settings.partitions)
        ]

    def count(self) -> int:
        committed = self._cluster.committed(self._group)
        return sum(committed.get(place, 0) for place in self._places)

    def wait_for(self, least: int, *, within_s: float = 120.0) -> int:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            with suppress(BrokerError):  # the group is new, and Kafka is still setting up where it is kept
                if (count := self.count()) >= least:
                    return count
            time.sleep(_LOOK_S)
        raise TrieflowError(f"the learner acknowledged nothing within {within_s:.0f} s")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss / _MIB)


def _folder_mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / _MIB


def _table(found: Sequence[Taken]) -> tuple[list[str], list[list[object]]]:
    header = [
        "impressions",
        "events/s",
        "events/s of CPU",
        "memory, MiB: first",
        "most",
        "last",
        "folder, MiB",
    ]
    return header, [
        [
            each.impressions,
            each.per_s,
            each.per_cpu_s,
            each.mib_first,
            each.mib_most,
            each.mib_last,
            each.folder_mib,
        ]
        for each in found
    ]


# -- without Kafka ------------------------------------------------------------------------------------------


def _alone(options: argparse.Namespace) -> None:
    collect_seldom()  # as a learner does
    for impressions in options.impressions:
        traffic = _traffic(impressions, options)
        made, settings = list(traffic.made()), LearningSettings(impressions=options.kept)
        profile = cProfile.Profile() if options.profile else None
        with tempfile.TemporaryDirectory(prefix="trieflow-learner-") as folder, profile or nullcontext():
            cpu_s = count_alone(made, settings, stamp=traffic.stamp, folder=Path(folder) / "clicks")
        print(
            f"{impressions} impressions, {len(made)} events: {len(made) / cpu_s:.0f} events/s of CPU",
            flush=True,
        )
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)


def count_alone(made: Sequence[Made], settings: LearningSettings, *, stamp: str, folder: Path) -> float:
    """Take events in as `Learner.commit` does, into a shard in this folder; seconds of CPU of this thread."""
    shard = ClickShard(folder, settings, cluster="none", stamp=stamp)
    try:
        started = time.thread_time()
        for start in range(0, len(made), settings.batch):
            _count(shard, made[start : start + settings.batch])
        return time.thread_time() - started
    finally:
        shard.close()


def _count(shard: ClickShard, batch: Sequence[Made]) -> None:
    ledger, now = shard.ledger(), time.time()
    events = [(decode_key(made.key.encode()), _decoded(made)) for made in batch]
    ledger.read_ahead(
        [key for key, _ in events], [body for _, body in events if isinstance(body, Impression)]
    )
    for key, body in events:
        if isinstance(body, Impression):
            ledger.shown(key, body)
        else:
            ledger.given(key, body, now)
    ledger.tidy()
    for known in ledger.touched.values():
        if known is not None and known.documents:
            known.event().to_json()
    ledger.summary()
    shard.write(ledger, applied={("impressions", 0): 0})


def _decoded(made: Made) -> Impression | Feedback:
    model: type[Impression] | type[Feedback] = Impression if made.topic == "impressions" else Feedback
    body = decode_body(made.body, model=model, topic=made.topic, headers=IncomingHeaders.of([]))
    if not isinstance(body, Impression | Feedback):
        raise TrieflowError(f"{made.key} has no body")
    return body
