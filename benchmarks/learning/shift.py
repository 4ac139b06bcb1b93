"""`trieflow bench learning --shift`: people change what they want, half way.

For each seed one system. People ask and click until half of the clicks; then other members of the ambiguous queries
are what they want, and they go on. At some steps before and after, all kinds of queries are judged by what people
want then; of preferences also by what they wanted before.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.learning.evaluation import Figures, evaluate
from benchmarks.learning.people import Habits, People
from benchmarks.learning.progress import wait_until_all_is_taken_in
from benchmarks.learning.stage import encoded, publish
from benchmarks.learning.world import RELATED, WANTED, Floats, Kind, World, make_world
from benchmarks.path import system
from benchmarks.tables import keep, markdown
from models.encoders.base import Encoder
from models.encoders.registry import load_encoder
from streams.settings import Settings
from trieflow.client import Client

CLICKS = 5_000
STEPS = (0.1, 0.25, 0.5, 1.0)
"""Of the clicks after the shift."""
_PREFERENCES: tuple[Kind, ...] = ("preferences seen", "preferences unseen")
_NEARBY = slice(2, 8)
"""Places among which a new taste is found, as those of the first ones were: not the first two."""


@dataclass(frozen=True)
class Step:
    """One measurement. old: by the taste before the shift, now: by that of the time."""

    seed: int
    clicks: int
    shifted: bool
    old: Figures
    now: Figures


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run it. Writes the part `shift` of `benchmarks/results/learning.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench learning --shift", description=__doc__)
    parser.add_argument("--shift", action="store_true", required=True)
    parser.add_argument("--seeds", type=int, default=1, help="(default %(default)s)")
    parser.add_argument("--clicks", type=int, default=CLICKS, help="in all (default %(default)s)")
    parser.add_argument("--queries", type=int, default=300, help="of each kind that are judged, at most")
    parser.add_argument(
        "--rephrases", type=float, default=Habits.rephrases, help="how likely people ask again"
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/learning.json")
    options = parser.parse_args(arguments)
    encoder = load_encoder("lite", threads=2)
    found = [step for seed in range(options.seeds) for step in _run(seed, encoder, options)]
    print("\n" + markdown(*_table(found)))
    if options.keep:
        print(f"kept in {keep('learning', 'shift', [asdict(each) for each in found])}")


def _run(seed: int, encoder: Encoder, options: argparse.Namespace) -> list[Step]:
    before = make_world(seed, lambda texts: encoded(encoder, texts))
    after = shifted(before, seed, lambda texts: encoded(encoder, texts))
    half = options.clicks // 2
    goals = [(half, before), *((half + round(step * half), after) for step in (0.0, *STEPS))]
    steps = []
    with (
        tempfile.TemporaryDirectory(prefix="trieflow-shift-") as folder,
        system(Path(folder), "lite") as (found, _),
        Client(found) as client,
    ):
        publish(client, before, stamp=encoder.description.stamp)
        people = People(client, before, seed=seed, habits=Habits(rephrases=options.rephrases))
        for goal, world in goals:
            people.turn_to(world)
            people.go_on(lambda tally, goal=goal: tally.clicks >= goal)  # type: ignore[misc]
            wait_until_all_is_taken_in(found)
            judged = (evaluate(client, each, seed=seed, most=options.queries) for each in (before, world))
            steps.append(Step(seed, people.tally.clicks, world is after, *judged))
            print(markdown(*_table(steps[-1:])), flush=True)
    return steps


def shifted(world: World, seed: int, encode: Callable[[Sequence[str]], Floats]) -> World:
    """The same world, in which another member of each ambiguous query is wanted: not the one before."""
    chance = np.random.default_rng([seed, 10])
    first = {each.lesson: each for kind in reversed(_PREFERENCES) for each in reversed(world.of(kind))}
    lessons = sorted(first)
    vectors = encode([first[lesson].text for lesson in lessons])
    wanted = {
        lesson: _another(first[lesson].wanted, world.vectors @ vector, chance)
        for lesson, vector in zip(lessons, vectors, strict=True)
    }
    asked = [
        replace(each, wanted=wanted[each.lesson]) if each.kind in _PREFERENCES else each
        for each in world.asked
    ]
    return replace(world, asked=asked)


def _another(wanted: Floats, scores: Floats, chance: np.random.Generator) -> Floats:
    """Other chances (n,) of a click for the same members. scores: (n,) of the query."""
    members, now = np.flatnonzero(wanted), int(np.argmax(wanted))
    ranked = [thing for thing in members[np.argsort(-scores[members])].tolist() if thing != now]
    found = np.where(wanted > 0, RELATED, 0).astype(np.float32)
    found[int(chance.choice(ranked[_NEARBY] or ranked))] = WANTED
    return found


def _table(steps: Sequence[Step]) -> tuple[list[str], list[list[object]]]:
    """nDCG@10 and reciprocal rank of the best."""
    names = ["seed", "clicks", "taste"]
    names += [f"{kind}, {which}" for kind in _PREFERENCES for which in ("old taste", "taste now")]
    others = [kind for kind in steps[0].now if kind not in _PREFERENCES] if steps else []
    rows: list[list[object]] = []
    for step in steps:
        figures = [which[kind] for kind in _PREFERENCES for which in (step.old, step.now)]
        figures += [step.now[kind] for kind in others]
        taste = "new" if step.shifted else "old"
        rows.append(
            [str(step.seed), step.clicks, taste, *(f"{ndcg:.1f} / {rank:.1f}" for ndcg, rank in figures)]
        )
    return [*names, *others], rows
