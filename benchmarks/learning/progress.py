"""How far a running learner is, from outside: what it has acknowledged, and what became of the events."""

from __future__ import annotations

import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from agents.health import WorkerFile, find_workers
from streams.errors import TrieflowError
from streams.settings import Settings
from trieflow.cluster import Cluster, Place
from trieflow.status import GROUPS

ROLE = "learner"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_LOOK_S = 0.25


def learner_process(settings: Settings) -> WorkerFile:
    """The learner of this data folder. Raises TrieflowError when none runs."""
    found = [file for file in find_workers(settings.data) if file.role == ROLE and file.alive]
    if len(found) != 1:
        raise TrieflowError(f"{len(found)} learners run in {settings.data}, one is measured")
    return found[0]


def outcomes(settings: Settings) -> dict[str, int]:
    """What became of impressions and feedback since the learner started, by outcome."""
    with _DIRECT.open(f"{learner_process(settings).url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        sample.labels["outcome"]: int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "trieflow_feedback_total"
    }


def wait_until_all_is_taken_in(settings: Settings, *, within_s: float = 600.0) -> float:
    """Wait until the group has acknowledged what its topics hold now; the seconds waited. Raises TrieflowError."""
    cluster, group = Cluster(settings), settings.prefix + ROLE
    places: list[Place] = [
        (settings.topic(name), partition) for name in GROUPS[ROLE] for partition in range(settings.partitions)
    ]
    started, ends = time.monotonic(), cluster.ends(places)
    while time.monotonic() - started < within_s:
        committed = cluster.committed(group)
        if all(committed.get(place, 0) >= end for place, end in ends.items()):
            return time.monotonic() - started
        time.sleep(_LOOK_S)
    raise TrieflowError(f"the learner was not through within {within_s:.0f} s")
