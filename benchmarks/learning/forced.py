"""`trieflow bench learning --forced`: a bad adapter is forced past the gates, and taken back by itself.

A whole system on an embedded Kafka. People teach it; then an adapter is trained on what they clicked, with the
clicks shuffled among queries, published, and sent to a canary by force, as by `trieflow models promote VERSION
--canary --force`. People go on until the learner has given it up, and as long after it. Told: after how many
sessions, at which z, and how good the lists were that people saw before, meanwhile and after.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agents.catalogue import read_catalogue
from agents.judging import Judging
from agents.lesson import chosen, make_lesson
from agents.model_log import FOLDER, RolloutLog
from agents.training_window import read_window
from benchmarks.learning.adapters import shuffled_clicks
from benchmarks.learning.evaluation import evaluate
from benchmarks.learning.exact_system import ndcg
from benchmarks.learning.people import TOP_K, People, things_of
from benchmarks.learning.stage import encoded, publish
from benchmarks.learning.world import World, make_world
from benchmarks.path import system
from benchmarks.tables import keep, markdown
from models.adapter.adapter import FILE, QueryAdapter
from models.adapter.training import train_adapter
from models.bundles import Bundle, BundleStore, Manifest
from models.encoders.base import Encoder
from models.encoders.registry import load_encoder
from models.gates.canary import Canary
from models.gates.verdict import Judgement, judge
from models.ranking.ranker import NOTHING_LEARNED, Ranker
from streams.clients import producer
from streams.errors import TrieflowError
from streams.events.models import ADAPTER_MODEL, AdapterRollout, ModelBundle, bundle_key
from streams.events.queries import Result
from streams.settings import Settings
from trieflow.adapters import ask_rollout, plan_promotion, whole_window
from trieflow.client import Client

CLICKS = 3_000
VERSION = "forced"
_SESSION_S = 2.0
"""Rather than half an hour: here nobody's session lasts longer."""
_NEVER = 1_000_000_000
_ASKED_S = 60.0
_COUNTS = re.compile(r"of (\d+) sessions it won (\d+) and lost (\d+)")


@dataclass(frozen=True)
class Seen:
    """How good a list was that somebody saw: nDCG@10; whether the candidate made it, too."""

    session: str
    ndcg: float
    is_tried: bool


@dataclass
class WatchedClient:
    """A client for `People` that notes how good its answers are."""

    client: Client
    world: World
    seen: list[Seen] = field(default_factory=list)

    def search(self, query: dict[str, Any], **arguments: Any) -> Result:
        result = self.client.search(query, **arguments)
        top = things_of([hit.document_id for hit in result.hits or []])
        if len(top) == TOP_K:
            good = float(ndcg(self.world.query(query["text"]).wanted[None], top[None])[0])
            is_tried = bundle_key(ADAPTER_MODEL, VERSION) in (result.models or [])
            self.seen.append(Seen(arguments["session_id"], good, is_tried))
        return result

    def click(self, query_id: str, document_id: str) -> None:
        self.client.click(query_id, document_id)


@dataclass(frozen=True)
class Taken:
    """How the canary ended. asked: sessions of everybody meanwhile."""

    rollout: AdapterRollout
    asked: int
    seconds: float

    @property
    def canary(self) -> Canary:
        """What was counted of it. Raises TrieflowError when it was no canary that decided."""
        found = _COUNTS.fullmatch(self.rollout.reason)
        if found is None:
            raise TrieflowError(f"the canary was not decided by its sessions: {self.rollout.reason}")
        return Canary(*map(int, found.groups()))


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run it. Writes the part `forced` of `benchmarks/results/learning.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench learning --forced", description=__doc__)
    parser.add_argument("--forced", action="store_true", required=True)
    parser.add_argument("--seed", type=int, default=0, help="of people and world (default %(default)s)")
    parser.add_argument(
        "--clicks", type=int, default=CLICKS, help="before it is forced (default %(default)s)"
    )
    parser.add_argument("--queries", type=int, default=300, help="of each kind, to measure by, at most")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/learning.json")
    options = parser.parse_args(arguments)
    encoder = load_encoder("lite", threads=1)
    world = make_world(options.seed, lambda texts: encoded(encoder, texts))
    with (
        tempfile.TemporaryDirectory(prefix="trieflow-forced-") as folder,
        system(
            Path(folder), "lite", rollout__session_s=str(_SESSION_S), training__first_clicks=str(_NEVER)
        ) as (found, _),
        Client(found) as client,
    ):
        publish(client, world, stamp=encoder.description.stamp)
        figures = _force(found, client, world, encoder, options)
    if options.keep:
        print(f"kept in {keep('learning', 'forced', figures)}")


def _force(
    settings: Settings, client: Client, world: World, encoder: Encoder, options: argparse.Namespace
) -> dict[str, Any]:
    watched = WatchedClient(client, world)
    people = People(watched, world, seed=options.seed)  # type: ignore[arg-type]
    people.go_on(lambda tally: tally.clicks >= options.clicks)
    print(f"{people.tally.clicks:,} clicks in {people.tally.sessions:,} sessions", flush=True)
    adapter, judgement = train_on_shuffled(settings, encoder, seed=options.seed)
    print(f"trained on shuffled clicks; the gates would say: {judgement.sentence}", flush=True)
    publish_adapter(settings, encoder, adapter, judgement)
    measured = {"before": evaluate(client, world, seed=options.seed, most=options.queries)}
    marks = [len(watched.seen)]
    taken = until_taken_back(settings, people)
    marks.append(len(watched.seen))
    asked = people.tally.sessions
    people.go_on(lambda tally: tally.sessions >= asked + taken.asked)
    measured["after"] = evaluate(client, world, seed=options.seed, most=options.queries)
    rows = phases(watched.seen, *marks)
    canary = taken.canary
    print(
        f"{taken.rollout.reason} (z {canary.z:+.1f}): given up {taken.seconds:.0f} s and {taken.asked:,} sessions "
        "of everybody after it was asked for"
    )
    print(markdown(["lists", "how many", "nDCG@10", "standard error"], rows), flush=True)
    for when, by_kind in measured.items():
        print(when, "  ".join(f"{kind} {value:.1f}" for kind, (value, _) in by_kind.items()), flush=True)
    return {
        "seed": options.seed,
        "clicks": options.clicks,
        "gates": judgement.verdict,
        "refused_by": judgement.refused_by,
        "canary": {"sessions": canary.sessions, "won": canary.won, "lost": canary.lost, "z": canary.z},
        "sessions_of_everybody": taken.asked,
        "seconds": taken.seconds,
        "lists": rows,
        "measured": measured,
    }


def train_on_shuffled(settings: Settings, encoder: Encoder, *, seed: int) -> tuple[QueryAdapter, Judgement]:
    """An adapter from what the logs hold, its clicks shuffled and nothing weakened; what the gates say of it."""
    stamp, window = encoder.description.stamp, whole_window(settings)
    clicks = [part for part in window if part.topic != "assignments"]
    documents = [part for part in window if part.topic == "assignments"]
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(read_window(settings, clicks, Path(folder), stamp=stamp)) as read,
    ):
        catalogue = read_catalogue(settings, encoder.description, window=documents, wanted=chosen(read))
        lesson, known = make_lesson(read, catalogue, encoder, settings.training)
        adapter = train_adapter(shuffled_clicks(lesson, seed)).adapter
        judging = Judging(read, catalogue, known, incumbent=NOTHING_LEARNED, stamp=stamp)
        return adapter, judge(judging.evidence(Ranker(adapter)))


def publish_adapter(
    settings: Settings, encoder: Encoder, adapter: QueryAdapter, judgement: Judgement
) -> None:
    """As the trainer publishes what the gates refuse."""
    stamp = encoder.description.stamp
    manifest = Manifest(name=ADAPTER_MODEL, version=VERSION, encoder_stamp=stamp, gates=judgement.results())
    uri = BundleStore(f"{settings.content_store}/{FOLDER}").write(
        Bundle.of(manifest, {FILE: adapter.to_bytes()})
    )
    event = ModelBundle(name=ADAPTER_MODEL, version=VERSION, uri=uri, encoder_stamp=stamp, verdict="refused")
    writer = producer(settings)
    key = bundle_key(ADAPTER_MODEL, VERSION).encode()
    writer.produce(settings.topic("models"), key=key, value=event.to_json())
    if writer.flush(_ASKED_S):
        raise TrieflowError("Kafka did not take the adapter")


def until_taken_back(settings: Settings, people: People) -> Taken:
    """Ask for the canary, and let people go on until it is over. Raises TrieflowError when it was promoted."""
    follower, asked, began = RolloutLog(settings), people.tally.sessions, time.monotonic()
    follower.start()
    try:
        plan = plan_promotion(settings, VERSION, canary=True, force=True)
        since = ask_rollout(settings, plan, timeout=_ASKED_S).since

        def is_over(_: object) -> bool:
            now = follower.rollout
            return now is not None and now.since > since

        people.go_on(is_over)
        assert follower.rollout is not None
        if VERSION not in follower.rollout.given_up:
            raise TrieflowError(f"the canary was not taken back: {follower.rollout.reason}")
        return Taken(follower.rollout, people.tally.sessions - asked, time.monotonic() - began)
    finally:
        follower.stop()


def phases(seen: Sequence[Seen], start: int, end: int) -> list[list[object]]:
    """Rows of lists before `start`, as many as there are meanwhile; between; those of the candidate; and after."""
    parts = {
        "before": seen[max(0, 2 * start - end) : start],
        "meanwhile, all": seen[start:end],
        "meanwhile, with the candidate": [each for each in seen[start:end] if each.is_tried],
        "meanwhile, without": [each for each in seen[start:end] if not each.is_tried],
        "after": seen[end:],
    }
    return [[name, len(part), *_mean([each.ndcg for each in part])] for name, part in parts.items()]


def _mean(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The mean and its standard error, in percent."""
    if len(values) < 2:
        return None, None
    return 100 * statistics.fmean(values), 100 * statistics.stdev(values) / float(np.sqrt(len(values)))
