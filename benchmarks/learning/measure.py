"""`trieflow bench learning`: what simulated users teach the system, through the real topics and agents.

For each seed a whole system on an embedded Kafka: 1,914 things are published, people ask and click, and at some
numbers of clicks all kinds of queries are asked and judged by what people want (benchmarks/learning/world.py). From
4,000 clicks on, an adapter is trained there by command and serves everybody unless the gates refuse it; then all is
asked once more. Nothing is trained in between. At the end, how long a click takes until an answer is another.
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
from streams.errors import TrieflowError
from streams.settings import Settings
from trieflow.adapters import ask_rollout, ask_training, follow_training, plan_promotion, show_adapter
from trieflow.client import Client

CLICKS = (1_000, 5_000, 10_000, 20_000)
BY_COMMAND = {"training__first_clicks": "1000000000", "rollout__automatic": "false"}
"""What trains and promotes is the benchmark."""
_TIMEOUT_S = 600.0


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run it. Writes `benchmarks/results/learning.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench learning", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="whole systems, one after another")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them (default %(default)s)")
    parser.add_argument(
        "--clicks", type=int, nargs="+", default=CLICKS, help="where to measure (default %(default)s)"
    )
    parser.add_argument(
        "--queries", type=int, default=300, help="of each kind, at most (default %(default)s)"
    )
    parser.add_argument(
        "--rephrases", type=float, default=Habits.rephrases, help="how likely people ask again"
    )
    parser.add_argument(
        "--adapter-from",
        type=int,
        default=4_000,
        help="train an adapter from so many clicks on (%(default)s)",
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/learning.json")
    others = parser.add_argument_group("other measurements, each with a --help of its own")
    others.add_argument("--gates", action="store_true", help="judge candidates, without Kafka")
    others.add_argument("--ablation", action="store_true", help="train adapters with each option changed")
    others.add_argument("--forced", action="store_true", help="force a bad adapter into a canary")
    others.add_argument("--spam", metavar="ACCOUNTS", help="push a document by clicks")
    others.add_argument("--shift", action="store_true", help="people change what they want, half way")
    others.add_argument("--serving", action="store_true", help="queries beside trainings and rollouts")
    options = parser.parse_args(arguments)
    encoder = load_encoder("lite", threads=2)
    runs = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        runs.append(_run(seed, encoder, options))
        if options.keep:  # what was measured stays, whatever happens to the next seed
            print(f"kept in {keep('learning', 'clicks', runs)}")
    print("\n" + markdown(*_table([run["figures"] for run in runs])))


def _run(seed: int, encoder: Encoder, options: argparse.Namespace) -> dict[str, Any]:
    world = make_world(seed, lambda texts: encoded(encoder, texts))
    figures: dict[str, Figures] = {}
    trainings: dict[int, dict[str, Any]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="trieflow-learning-") as folder,
        system(Path(folder), "lite", **BY_COMMAND) as (found, _),
        Client(found) as client,
    ):
        publish(client, world, stamp=encoder.description.stamp)
        people = People(client, world, seed=seed, habits=Habits(rephrases=options.rephrases))
        for clicks in (0, *options.clicks):
            started, before = time.perf_counter(), people.tally.queries
            people.go_on(lambda tally, wanted=clicks: tally.clicks >= wanted)  # type: ignore[misc]
            rate = (people.tally.queries - before) / (time.perf_counter() - started)
            time.sleep(1.0)
            figures[f"{clicks:,}"] = evaluate(client, world, seed=seed, most=options.queries)
            _say(seed, f"{people.tally.clicks} clicks, {rate:.0f} queries/s", figures[f"{clicks:,}"])
            if clicks < options.adapter_from:
                continue
            trainings[clicks] = _train(found)
            print(f"seed {seed}, {clicks} clicks: {trainings[clicks]}", flush=True)
            told = f"{clicks:,}, adapter"
            figures[told] = evaluate(client, world, seed=seed, most=options.queries)
            _say(seed, told, figures[told])
        changes = click_to_change_ms(client)
    print(f"seed {seed}: a click until the answer is another, ms: {_spread(changes)}", flush=True)
    return {
        "seed": seed,
        "figures": figures,
        "trainings": trainings,
        "sessions": people.tally.sessions,
        "click_to_change_ms": changes,
    }


def _train(settings: Settings) -> dict[str, Any]:
    """Train an adapter from all that the logs hold, and let it serve unless the gates refuse it."""
    started = time.perf_counter()
    asked = ask_training(settings)
    ended = follow_training(settings, asked.run, on_progress=lambda event: None, timeout=_TIMEOUT_S)
    if ended.version is None:
        raise TrieflowError(f"the training {ended.run} {ended.stage}: {ended.message}")
    taken = time.perf_counter() - started
    if ended.verdict != "refused":
        plan = plan_promotion(settings, ended.version, canary=False, force=False)
        ask_rollout(settings, plan, timeout=_TIMEOUT_S)
        time.sleep(1.0)  # until the searcher has read it
    line = show_adapter(settings, ended.version)
    return {"verdict": line.verdict, "seconds": taken, "figures": line.figures}


def _say(seed: int, when: str, figures: Figures) -> None:
    line = "  ".join(f"{kind} {ndcg:.1f}/{rank:.1f}" for kind, (ndcg, rank) in figures.items())
    print(f"seed {seed}, {when}: {line}", flush=True)


def _table(runs: Sequence[dict[str, Figures]]) -> tuple[list[str], list[list[object]]]:
    """nDCG@10 and reciprocal rank of the best, mean and spread over seeds."""
    rows: dict[str, list[Figures]] = defaultdict(list)
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
