"""The state of a system: topics, lag, workers with health and freshness, gathered once."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from streams.headers import now_ms
from streams.settings import Settings
from streams.topics import topic_specs
from trieflow.cluster import Cluster, Place

GROUPS: Mapping[str, tuple[str, ...]] = {
    "indexer": ("documents", "moves"),
    "searcher": ("queries",),
    "learner": ("forget", "impressions", "feedback"),
}
"""The consumer groups, by role, and the topics that each reads."""

_HEALTH_TIMEOUT_S = 2.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # workers are near; a proxy is not


class TopicLine(BaseModel):
    """A topic: records ever written (the sum of end offsets), and the age of the newest one."""

    topic: str
    partitions: int | None
    end: int
    newest_age_s: float | None


class LagLine(BaseModel):
    """How far a group is behind in a topic; `committed` and `end` are sums over partitions."""

    group: str
    topic: str
    committed: int
    end: int
    lag: int


class WorkerLine(BaseModel):
    """A worker as its health server tells it. `state`: ready, starting, failing, gone."""

    role: str
    worker: str
    pid: int
    url: str
    state: str
    uptime_s: float | None = None
    details: dict[str, Any] = {}


class Status(BaseModel):
    """Everything at one moment."""

    brokers: str
    at: datetime
    topics: list[TopicLine]
    lag: list[LagLine]
    workers: list[WorkerLine]

    @property
    def problems(self) -> list[str]:
        """What keeps the system from working, one line each."""
        missing = [f"{line.topic} is missing" for line in self.topics if line.partitions is None]
        return missing + [f"{w.role}-{w.worker} is {w.state}" for w in self.workers if w.state != "ready"]


def gather(settings: Settings) -> Status:
    """Ask Kafka and the workers of this data folder. Raises BrokerError."""
    cluster = Cluster(settings)
    counts = cluster.partitions()
    names = [spec.name for spec in topic_specs(settings)]
    places = [(name, partition) for name in names for partition in range(counts.get(name, 0))]
    ends = cluster.ends(places)
    newest = {place: each.timestamp_ms for place, each in cluster.newest(places).items()}
    return Status(
        brokers=settings.brokers or "",
        at=datetime.now().astimezone(),
        topics=[_topic(name, counts.get(name), ends=ends, newest=newest) for name in names],
        lag=_lag(settings, cluster, ends),
        workers=workers(settings.data),
    )


def _topic(
    name: str, partitions: int | None, *, ends: Mapping[Place, int], newest: Mapping[Place, int]
) -> TopicLine:
    youngest = max((ms for (topic, _), ms in newest.items() if topic == name), default=-1)
    return TopicLine(
        topic=name,
        partitions=partitions,
        end=sum(end for (topic, _), end in ends.items() if topic == name),
        newest_age_s=round((now_ms() - youngest) / 1_000, 1) if youngest >= 0 else None,
    )


def _lag(settings: Settings, cluster: Cluster, ends: Mapping[Place, int]) -> list[LagLine]:
    lines = []
    for role, topics in GROUPS.items():
        group = settings.prefix + role
        committed = cluster.committed(group)
        for topic in map(settings.topic, topics):
            here = {place: end for place, end in ends.items() if place[0] == topic}
            # Nothing committed means that nothing was read; topics start at 0.
            behind = sum(max(0, end - committed.get(place, 0)) for place, end in here.items())
            done = sum(committed.get(place, 0) for place in here)
            end = sum(here.values())
            lines.append(LagLine(group=group, topic=topic, committed=done, end=end, lag=behind))
    return lines


def workers(data: Path) -> list[WorkerLine]:
    """The workers that left a file in the data folder, each asked for its health."""
    from agents.health import WorkerFile, find_workers

    def line(file: WorkerFile) -> WorkerLine:
        state, facts = ("gone", {}) if not file.alive else _ask(file.url)
        return WorkerLine(
            role=file.role,
            worker=file.worker,
            pid=file.pid,
            url=file.url,
            state=state,
            uptime_s=facts.get("uptime_s"),
            details=_details(facts),
        )

    files = find_workers(data)
    if not files:
        return []
    with ThreadPoolExecutor(min(8, len(files))) as pool:
        return list(pool.map(line, files))


def _ask(url: str) -> tuple[str, dict[str, Any]]:
    try:
        with _DIRECT.open(f"{url}/status", timeout=_HEALTH_TIMEOUT_S) as answer:
            facts: dict[str, Any] = orjson.loads(answer.read())
    except (OSError, ValueError):
        return "silent", {}
    if not facts.get("live"):
        return "failing", facts
    return ("ready" if facts.get("ready") else "starting"), facts


def _details(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the role shows, and what is not ready yet."""
    components: Mapping[str, Mapping[str, Any]] = facts.get("components") or {}
    waiting = {
        name: each.get("detail") or "not ready" for name, each in components.items() if not each["ready"]
    }
    trouble = {"trouble": facts["reason"]} if facts.get("reason") else {}
    return {**(facts.get("details") or {}), **waiting, **trouble}
