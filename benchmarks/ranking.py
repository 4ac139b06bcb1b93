"""`trieflow bench ranking`: what fine-ranking brings people who prefer what is new, what is cited, or neither.

Without Kafka: a made-up world in which documents of one topic are about equally relevant, people who click by what
they prefer and by position, and the classes by which the trainer joins, learns and judges.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.catalogue import Catalogue
from agents.judging import Judging, Known
from agents.ranking_lesson import learn_ranking
from agents.training import with_ranking
from agents.training_window import Answers, Window
from benchmarks.tables import keep, markdown
from models.adapter.data import Documents
from models.gates.ranks import discounts
from models.gates.verdict import judge
from models.ranking.ranker import NOTHING_LEARNED, Ranker
from models.ranking.weights import PUBLISHED_AT, Ranking
from state.clicks.shard import ClickShard
from streams.events.assignments import StampedVector
from streams.events.impressions import Feedback, Impression
from streams.settings import LearningSettings, RankingSettings, Settings

Floats = NDArray[np.float32]
SEEDS = (0, 1, 2)
STAMP = "made-up@1/32"
CITED = "citations"
SETTINGS = RankingSettings(authority_field=CITED)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
DIMENSION, TOP, SPREAD = 32, 10, 0.1
BETA = 3.0
"""What a unit of the score is worth to people, in logits; freshness and citations are worth `Taste`."""
NOISE = 0.03
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Taste:
    """What people prefer at equal relevance, in logits. at_random: they click whatever they look at."""

    name: str
    fresh: float = 0.0
    cited: float = 0.0
    at_random: bool = False


TASTES = (
    Taste("nothing but relevance"),
    Taste("new", fresh=1.5),
    Taste("cited", cited=1.5),
    Taste("both", fresh=1.5, cited=1.5),
    Taste("nothing at all", at_random=True),
)


class World:
    """Documents in topics, and queries about these. wanted(queries): what people want of each document, 0 to 1."""

    def __init__(self, seed: int, taste: Taste, *, topics: int = 60, each: int = 20) -> None:
        self.chance, self.taste = np.random.default_rng([seed, 31]), taste
        self.centres = _unit(self.chance.standard_normal((topics, DIMENSION)))
        count = topics * each
        vectors = self._near(np.repeat(np.arange(topics), each), 1.2)
        same = np.ones(count, dtype=np.float32)
        documents = Documents(vectors, 0 * same, np.float32(SPREAD) * same, np.arange(count))
        self.age_d = self.chance.exponential(60.0, count)
        cited = np.floor(self.chance.lognormal(2.0, 1.5, count))
        values = {PUBLISHED_AT: NOW.timestamp() - self.age_d * _DAY_S, CITED: cited}
        self.catalogue = Catalogue(documents, [f"d{number}" for number in range(count)], [], values)
        self._cited = cited.argsort().argsort() / count
        self._topics = topics

    def queries(self, count: int) -> Floats:
        return self._near(self.chance.integers(self._topics, size=count), 0.3)

    def known_items(self, count: int) -> Known:
        """Queries that name one document, whatever people prefer."""
        wanted = self.chance.integers(len(self.catalogue.ids), size=count)
        vectors = self.catalogue.documents.vectors[wanted]
        named = _unit(vectors + 0.04 * self.chance.standard_normal(vectors.shape))
        return Known(named, wanted, np.ones(count, dtype=np.bool_))

    def wanted(self, queries: Floats) -> NDArray[np.float64]:
        if self.taste.at_random:
            return np.full((len(queries), len(self.catalogue.ids)), 0.1)
        scores = BETA * self.catalogue.documents.scores(queries).astype(np.float64)
        scores += (
            self.taste.fresh * 0.5 ** (self.age_d / SETTINGS.half_life_d) + self.taste.cited * self._cited
        )
        return np.asarray(0.9 * np.exp(scores - scores.max(axis=1, keepdims=True)))

    def _near(self, topics: NDArray[np.int64], noise: float) -> Floats:
        away = _unit(self.chance.standard_normal((len(topics), DIMENSION)))
        return _unit(self.centres[topics] + np.float32(noise) * away)


@contextmanager
def asked(world: World, *, sessions: int, held_out: float = 0.2) -> Iterator[Window]:
    """A window in which each session asks once, answered by relevance alone, neighbours by chance in a fifth."""
    queries = world.queries(max(1, sessions // 5))
    kept = LearningSettings()
    with tempfile.TemporaryDirectory() as folder:
        shards = [
            ClickShard(Path(folder) / name, kept, cluster="", stamp=STAMP) for name in ("taught", "held-out")
        ]
        try:
            for number in range(sessions):
                shard = shards[number >= (1 - held_out) * sessions]
                _ask(world, shard, number, queries[world.chance.integers(len(queries))])
            yield Window(*map(Answers.of, shards))
        finally:
            for shard in shards:
                shard.close()


def _ask(world: World, shard: ClickShard, number: int, query: Floats) -> None:
    scores = world.catalogue.documents.scores(query[None, :])[0]
    top = np.argsort(-scores)[:TOP]
    pairs: list[int] = []
    if number % 5 == 0:
        first = int(world.chance.integers(2))
        for upper in range(first, TOP - 1, 2):
            pairs.append(upper + 1)
            if world.chance.integers(2):
                top[[upper, upper + 1]] = top[[upper + 1, upper]]
    at = NOW - timedelta(minutes=10) + timedelta(seconds=number / 10)
    shown = [
        {
            "document_id": f"d{document}",
            "position": place,
            "score": float(scores[document]),
            "propensity": 1 / place,
            "relevance": float(scores[document]),
        }
        for place, document in enumerate(top.tolist(), start=1)
    ]
    ledger = shard.ledger()
    name = f"q{number}"
    impression = {
        "query_id": name,
        "session_id": f"s{number}",
        "parts": [{"kind": "text", "weight": 1.0}],
        "query_vector": StampedVector.of(STAMP, "fused", query),
        "shown": shown,
        "random_pairs": pairs,
        "models": [STAMP],
        "epoch": 0,
        "fresh_to": [],
        "at": at,
    }
    ledger.shown(name, Impression.model_validate(impression))
    wanted = np.maximum(world.wanted(query[None, :])[0, top], NOISE)
    clicked = world.chance.random(TOP) < wanted / np.arange(1, TOP + 1)
    for document in top[clicked].tolist():
        ledger.given(
            name, Feedback(query_id=name, document_id=f"d{document}", action="click"), at.timestamp() + 1
        )
    shard.write(ledger, applied={})


def ndcg(world: World, judging: Judging, queries: Floats, ranker: Ranker) -> float:
    """Mean nDCG@10 by what people want."""
    worth, found = discounts(np.arange(1.0, TOP + 1)), []
    for wanted, scores in zip(world.wanted(queries), judging.scores(queries, ranker), strict=True):
        found.append((wanted[np.argsort(-scores)[:TOP]] @ worth) / (-np.sort(-wanted)[:TOP] @ worth))
    return float(np.mean(found))


@dataclass(frozen=True)
class Figures:
    """Of one seed and taste."""

    taste: str
    seed: int
    clicks: int
    weights: dict[str, float]
    share: float
    before: float
    after: float
    guard: float
    verdict: str


def measure(seed: int, taste: Taste, *, sessions: int) -> Figures:
    world = World(seed, taste)
    with asked(world, sessions=sessions) as window:
        learned: Ranking = learn_ranking(window.taught, world.catalogue, SETTINGS)
        judging = Judging(
            window, world.catalogue, world.known_items(1_500), incumbent=NOTHING_LEARNED, stamp=STAMP
        )
        ranker, share = with_ranking(judging, NOTHING_LEARNED, learned)
        judgement = judge(judging.evidence(ranker))
        queries = world.queries(500)
        before, after = (ndcg(world, judging, queries, each) for each in (NOTHING_LEARNED, ranker))
        guard = next(check.value for check in judgement.guard.checks if check.name == "ndcg_change")
        return Figures(
            taste.name,
            seed,
            window.taught.shard.state.accepted,
            {str(name): weight for name, weight in ranker.ranking.weights.items()},
            share,
            before,
            after,
            guard,
            judgement.verdict,
        )


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run it. Writes `benchmarks/results/ranking.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench ranking", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="default %(default)s")
    parser.add_argument("--sessions", type=int, default=6_000, help="default %(default)s")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/ranking.json")
    options = parser.parse_args(arguments)
    found = [measure(seed, taste, sessions=options.sessions) for taste in TASTES for seed in options.seeds]
    columns = (
        "people prefer",
        "seed",
        "clicks",
        "weights",
        "share",
        "nDCG@10 before",
        "after",
        "guard",
        "verdict",
    )
    print(markdown(columns, [_row(each) for each in found]))
    if options.keep:
        print(f"kept in {keep('ranking', 'tastes', [vars(each) for each in found])}")


def _row(each: Figures) -> list[object]:
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in each.weights.items()) or "–"
    scores = [f"{100 * each.before:.1f}", f"{100 * each.after:.1f}", f"{each.guard:+.1%}"]
    return [each.taste, each.seed, f"{each.clicks:,}", weights, f"{each.share:.2f}", *scores, each.verdict]


def _unit(rows: NDArray[np.floating]) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), dtype=np.float32)
