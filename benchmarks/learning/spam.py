"""`trieflow bench learning --spam ACCOUNTS`: how far somebody pushes a thing who clicks it everywhere.

For each seed whole systems one after another: without spam, then with 5 % of the sessions by spammers. A spammer
asks what people ask and reports a click on the thing, which was hardly ever shown; then asks for it by a name in
the same session (a lure), as if that said the same, and clicks it there. Told at the end: in how many lists for
queries that people ask and that have nothing to do with it the thing stands, what became of the spammers' clicks,
and how good all other answers are.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning.evaluation import MEASURED, Figures, answers, evaluate
from benchmarks.learning.people import Habits, People, document_id
from benchmarks.learning.progress import outcomes, wait_until_all_is_taken_in
from benchmarks.learning.stage import encoded, publish
from benchmarks.learning.world import SEEN, Asked, World, make_world, wanting
from benchmarks.path import system
from benchmarks.tables import keep, markdown
from models.encoders.base import Encoder
from models.encoders.registry import load_encoder
from streams.settings import Settings
from trieflow.client import Client

SHARE = 0.05
CLICKS = 5_000
_ASKED = ("words seen", "preferences seen", "ordinary")
_REFUSED = ("not_shown", "capped", "repeated", "late", "expired")


@dataclass(frozen=True)
class Spam:
    """One way to spam. accounts: None for no spam at all, 0 for sessions without a name."""

    accounts: int | None
    lures: bool

    @property
    def name(self) -> str:
        if self.accounts is None:
            return "nobody"
        who = {0: "sessions without a name", 1: "one account"}.get(self.accounts, f"{self.accounts} accounts")
        return who + (", with lures" if self.lures else "")


@dataclass(frozen=True)
class Pushed:
    """What came of it. exposure: share of the unrelated lists that hold the thing, before and after."""

    seed: int
    spam: str
    before: float
    exposure: float
    unrelated: int
    sessions: int
    forged: int
    lured: int
    refused: dict[str, int]
    counted: int
    figures: Figures


def main(settings: Settings, arguments: Sequence[str]) -> None:
    """Run it. Writes the part `spam` of `benchmarks/results/learning.json` with `--keep`."""
    parser = argparse.ArgumentParser(prog="trieflow bench learning --spam", description=__doc__)
    parser.add_argument(
        "--spam",
        type=int,
        nargs="+",
        required=True,
        metavar="ACCOUNTS",
        help="so many accounts share the spam, each number a system of its own; 0: nobody says who it is",
    )
    parser.add_argument("--seeds", type=int, default=2, help="(default %(default)s)")
    parser.add_argument(
        "--first-seed", type=int, default=0, help="where the seeds begin (default %(default)s)"
    )
    parser.add_argument("--clicks", type=int, default=CLICKS, help="of people (default %(default)s)")
    parser.add_argument("--queries", type=int, default=300, help="of each kind that are judged, at most")
    parser.add_argument("--no-lures", action="store_true", help="spammers do not ask for their thing")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/learning.json")
    options = parser.parse_args(arguments)
    encoder = load_encoder("lite", threads=2)
    ways = [Spam(None, lures=False), *(Spam(each, lures=not options.no_lures) for each in options.spam)]
    found = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        world = make_world(seed, lambda texts: encoded(encoder, texts))
        for spam in ways:
            found.append(push(world, spam, seed=seed, encoder=encoder, options=options))
            print(markdown(*table(found[-1:])), flush=True)
    print("\n" + markdown(*table(found)))
    if options.keep:
        print(f"kept in {keep('learning', 'spam', [asdict(each) for each in found])}")


def push(world: World, spam: Spam, *, seed: int, encoder: Encoder, options: argparse.Namespace) -> Pushed:
    """One system from its beginning to so many clicks of people."""
    thing = spammed_thing(world, seed)
    unrelated = unrelated_queries(world, thing)
    with (
        tempfile.TemporaryDirectory(prefix="trieflow-spam-") as folder,
        system(Path(folder), "lite") as (found, _),
        Client(found) as client,
    ):
        publish(client, world, stamp=encoder.description.stamp)
        people = People(client, world, seed=seed, habits=habits(world, spam, thing))
        before = exposure(client, unrelated, thing)
        people.go_on(lambda tally: tally.clicks >= options.clicks)
        wait_until_all_is_taken_in(found)
        time.sleep(1.0)  # searchers read what the learner has written
        became = outcomes(found)
        return Pushed(
            seed=seed,
            spam=spam.name,
            before=before,
            exposure=exposure(client, unrelated, thing),
            unrelated=len(unrelated),
            sessions=people.tally.sessions,
            forged=people.tally.forged,
            lured=people.tally.lured,
            refused={name: became.get(name, 0) for name in _REFUSED},
            counted=became.get("counted", 0),
            figures=evaluate(client, world, seed=seed, most=options.queries),
        )


def spammed_thing(world: World, seed: int) -> int:
    """One that no lesson is about."""
    free = [thing for thing in range(len(world.vectors)) if thing not in world.taught]
    return int(np.random.default_rng([seed, 5]).choice(free))


def unrelated_queries(world: World, thing: int) -> list[Asked]:
    """What people ask and that thing is no answer to."""
    return [each for each in world.asked if each.kind in _ASKED and not each.wanted[thing]]


def lures(world: World, thing: int) -> list[Asked]:
    """Queries that show it: its names and tags, in the wordings of people."""
    names = [*world.things.names[thing], *world.things.tags[thing]]
    texts = dict.fromkeys(wording.format(name) for name in names for wording in SEEN)
    return [Asked(text, "rephrasing", wanting(world.things, thing)) for text in texts]


def habits(world: World, spam: Spam, thing: int) -> Habits:
    """Of people among whom somebody spams so."""
    if spam.accounts is None:
        return Habits()
    of_all = Habits(spam=SHARE, spammed=thing, accounts=spam.accounts)
    return replace(of_all, lures=lures(world, thing)) if spam.lures else of_all


def exposure(client: Client, asked: Sequence[Asked], thing: int) -> float:
    """The share of the answers that show a thing."""
    wanted = document_id(thing)
    shown = [
        any(hit.document_id == wanted for hit in result.hits or [])
        for result in answers(client, asked, "dense")
    ]
    return float(np.mean(shown))


def table(found: Sequence[Pushed]) -> tuple[list[str], list[list[object]]]:
    """A row for each system."""
    header = [
        "seed",
        "spam by",
        "exposure at the start",
        "exposure at the end",
        "clicks of spammers: forged, on what was shown",
        "refused: not shown, capped",
        *MEASURED,
    ]
    return header, [_row(each) for each in found]


def _row(each: Pushed) -> list[Any]:
    return [
        str(each.seed),
        each.spam,
        f"{each.before:.2%}",
        f"{each.exposure:.2%} of {each.unrelated:,}",
        f"{each.forged}, {each.lured}",
        f"{each.refused['not_shown']}, {each.refused['capped']}",
        *(f"{ndcg:.1f} / {rank:.1f}" for ndcg, rank in (each.figures[kind] for kind in MEASURED)),
    ]
