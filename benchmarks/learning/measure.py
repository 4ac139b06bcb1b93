"""`trieflow bench learning`: what simulated users teach the system, through the real topics and agents.

For each seed a whole system on an embedded Kafka: 1,914 things are published, people ask and click, and at some
numbers of clicks all kinds of queries are asked and judged by what people want (benchmarks/learning/world.py). At
the end, how long a click takes until an answer is another.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning.evaluation import MEASURED, Figures, evaluate
from benchmarks.learning.people import Habits, People
from benchmarks.learning.stage import click_to_change_ms, encoded, publish
from benchmarks.learning.world import make_world
from benchmarks.path import system
from benchmarks.tables import keep, markdown
from models.encoders.base import Encoder
from models.encoders.registry import load_encoder
from streams.settings import Settings
from trieflow.client import Client

CLICKS = (1_000, 5_000, 20_000)


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run it. Writes `benchmarks/results/learning.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench learning", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="whole systems, one after another")
    parser.add_argument(
        "--clicks", type=int, nargs="+", default=CLICKS, help="where to measure (default %(default)s)"
    )
    parser.add_argument(
        "--queries", type=int, default=300, help="of each kind, at most (default %(default)s)"
    )
    parser.add_argument(
        "--rephrases", type=float, default=Habits.rephrases, help="how likely people ask again"
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/learning.json")
    others = parser.add_argument_group("other measurements, each with a --help of its own")
    others.add_argument("--gates", action="store_true", help="judge candidates, without Kafka")
    others.add_argument("--spam", metavar="ACCOUNTS", help="push a document by clicks")
    others.add_argument("--shift", action="store_true", help="people change what they want, half way")
    others.add_argument("--serving", action="store_true", help="queries beside trainings and rollouts")
    options = parser.parse_args(arguments)
    encoder = load_encoder("lite", threads=2)
    runs = [_run(seed, encoder, options) for seed in range(options.seeds)]
    print("\n" + markdown(*_table([run["figures"] for run in runs])))
    if options.keep:
        print(f"kept in {keep('learning', 'clicks', runs)}")


def _run(seed: int, encoder: Encoder, options: argparse.Namespace) -> dict[str, Any]:
    world = make_world(seed, lambda texts: encoded(encoder, texts))
    figures: dict[int, Figures] = {}
    with (
        tempfile.TemporaryDirectory(prefix="trieflow-learning-") as folder,
        system(Path(folder), "lite") as (found, _),
        Client(found) as client,
    ):
        publish(client, world, stamp=encoder.description.stamp)
        people = People(client, world, seed=seed, habits=Habits(rephrases=options.rephrases))
        for clicks in (0, *options.clicks):
            started = time.perf_counter()
            people.go_on(lambda tally, wanted=clicks: tally.clicks >= wanted)  # type: ignore[misc]
            asked = time.perf_counter() - started
            time.sleep(1.0)
            figures[clicks] = evaluate(client, world, seed=seed, most=options.queries)
            _say(seed, clicks, people, asked, figures[clicks])
        changes = click_to_change_ms(client)
    print(f"seed {seed}: a click until the answer is another, ms: {_spread(changes)}", flush=True)
    return {
        "seed": seed,
        "figures": figures,
        "sessions": people.tally.sessions,
        "click_to_change_ms": changes,
    }


def _say(seed: int, clicks: int, people: People, seconds: float, figures: Figures) -> None:
    tally = people.tally
    line = "  ".join(f"{kind} {ndcg:.1f}/{rank:.1f}" for kind, (ndcg, rank) in figures.items())
    rate = tally.queries / seconds if clicks else 0.0
    print(
        f"seed {seed}, {tally.clicks} clicks, {tally.sessions} sessions, {rate:.0f} queries/s: {line}",
        flush=True,
    )


def _table(runs: Sequence[dict[int, Figures]]) -> tuple[list[str], list[list[object]]]:
    """nDCG@10 and reciprocal rank of the best, mean and spread over seeds."""
    rows: dict[int, list[Figures]] = defaultdict(list)
    for run in runs:
        for clicks, figures in run.items():
            rows[clicks].append(figures)
    return ["clicks", *MEASURED], [
        [clicks, *(_mean([figures[kind] for figures in found]) for kind in MEASURED)]
        for clicks, found in rows.items()
    ]


def _mean(found: Sequence[tuple[float, float]]) -> str:
    ndcg, rank = zip(*found, strict=True)
    spread = f" ± {statistics.stdev(ndcg):.1f}" if len(ndcg) > 1 else ""
    return f"{statistics.fmean(ndcg):.1f}{spread} / {statistics.fmean(rank):.1f}"


def _spread(values: Sequence[float]) -> str:
    p50, p99 = np.percentile(values, [50, 99])
    return f"p50 {p50:.0f}, p99 {p99:.0f}, most {max(values):.0f} (n {len(values)})"
