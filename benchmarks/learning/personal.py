"""`python -m benchmarks.learning.personal`: what a person's history does to answers, without Kafka.

The things of `world.py`, scored by the classes of a searcher. Each person likes three groups of things and has
chosen some of them, and now and then something else. Asked are ambiguous tags, some of whose things are of a group
that the person likes, and names of things of other groups, which ought to be found as before.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from agents.asked import QueryVector
from agents.calibrations import calibrations
from agents.personal import Personal
from benchmarks.learning.exact_system import top_of
from benchmarks.learning.people import TOP_K, document_id
from benchmarks.learning.stage import encoded
from benchmarks.learning.world import RELATED, WANTED, Floats, World, make_world, wanting
from benchmarks.tables import keep, markdown
from models.encoders.base import Encoder
from models.encoders.registry import load_encoder
from models.gates.ranks import discounts
from state.live_index import LiveDocument, LiveIndex
from state.personal import FITS, TEMPERATURE, attention
from state.vector_rows import ScoringPart, ScoringQuery
from streams.settings import PersonalSettings

SEEDS = (3, 4, 5)
PEOPLE = 100
LIKED, OTHERS = 3, 0.2
"""Groups that a person likes; share of the history that is of any group."""
_EACH = 4
"""Queries of each kind that a person asks."""


@dataclass(frozen=True)
class Asked:
    """A query of a person: its text, and how much each thing is wanted (n,)."""

    text: str
    kind: str
    wanted: Floats


@dataclass(frozen=True)
class Person:
    """What somebody chose, the latest first, and asks."""

    history: Sequence[str]
    asks: Sequence[Asked]


class Town:
    """One seed: things in a live index, people, vectors of what they ask."""

    def __init__(
        self, seed: int, encoder: Encoder, *, people: int, history: int, count: int | None = None
    ) -> None:
        self.encoder = encoder
        self.world: World = make_world(seed, lambda texts: encoded(encoder, texts), count=count)
        chance = np.random.default_rng([seed, 11])
        self.people = [_person(self.world, chance, history) for _ in range(people)]
        texts = sorted({asked.text for person in self.people for asked in person.asks})
        self.vectors = dict(zip(texts, encoded(encoder, texts), strict=True))
        self.index = LiveIndex(self.world.vectors.shape[1])
        # A document has no query's mark: the hub number of `lite` is 0 in texts.
        plain = self.world.vectors * _is_direction(encoder)
        plain /= np.linalg.norm(plain, axis=1, keepdims=True)
        self.index.apply(
            LiveDocument(document_id(thing), {}, [("text", row.astype(np.float32))], "vector")
            for thing, row in enumerate(plain)
        )

    def figures(self, weight: float, attend: Callable[[Floats], Floats]) -> Mapping[str, float]:
        """In percent, with histories of this weight: nDCG@10 by kind of query, and of ambiguous ones the reciprocal
        rank of the first thing within ten that the person likes."""
        personal = Personal(
            self.index, self.encoder.description, as_query=self.encoder.as_query, weight=weight, attend=attend
        )
        found: dict[str, list[float]] = {}
        for person in self.people:
            for asked in person.asks:
                top = self._top(personal, person, asked)
                found.setdefault(asked.kind, []).append(_ndcg(asked.wanted, top))
                if asked.kind == "ambiguous":
                    found.setdefault("first liked", []).append(_reciprocal_rank(asked.wanted[top] == WANTED))
        return {kind: 100 * float(np.mean(values)) for kind, values in found.items()}

    def _top(self, personal: Personal, person: Person, asked: Asked) -> NDArray[np.int64]:
        vector = QueryVector("text", self.vectors[asked.text], None, 1.0, is_typed=True)
        part = ScoringPart(vector.vector, 1.0, calibrations(self.encoder.description, "text"))
        query = ScoringQuery([part])
        with self.index.reading():
            plain = query.arrays(self.index.dimension)
            moved, _ = personal.moved(query, plain, [vector], person.history)
            slots, scores = self.index.score(moved.arrays(self.index.dimension))
        ordered = np.empty((1, len(slots)), dtype=np.float32)
        ordered[0, slots] = scores  # the first thing has the first slot
        return top_of(ordered, TOP_K)[0]


def _is_direction(encoder: Encoder) -> Floats:
    """1 for the numbers of a vector that a query does not set by itself."""
    zeros = np.zeros((1, encoder.description.dimension), dtype=np.float32)
    return np.asarray(encoder.as_query(zeros)[0] == 0, dtype=np.float32)


def _person(world: World, chance: np.random.Generator, history: int) -> Person:
    groups = world.things.groups
    liked = chance.choice(np.unique(groups), LIKED, replace=False)
    likes = np.isin(groups, liked)
    chosen = [
        int(chance.choice(np.flatnonzero(likes) if chance.random() > OTHERS else len(groups)))
        for _ in range(history)
    ]
    return Person(
        [document_id(thing) for thing in dict.fromkeys(chosen)],
        [*_tags(world, likes, chance), *_names(world, likes, chance)],
    )


def _tags(world: World, likes: NDArray[np.bool_], chance: np.random.Generator) -> Iterator[Asked]:
    """Tags of things that the person likes and of others, up to a third of them liked."""
    members: dict[str, list[int]] = {}
    for thing, tags in enumerate(world.things.tags):
        for tag in tags:
            members.setdefault(tag, []).append(thing)
    asked = [
        (tag, of_it) for tag, of_it in members.items() if len(of_it) >= 6 and 0 < likes[of_it].mean() <= 1 / 3
    ]
    for place in chance.permutation(len(asked))[:_EACH]:
        tag, of_it = asked[place]
        wanted = np.zeros(len(likes), dtype=np.float32)
        wanted[of_it] = np.where(likes[of_it], WANTED, RELATED)
        yield Asked(tag, "ambiguous", wanted)


def _names(world: World, likes: NDArray[np.bool_], chance: np.random.Generator) -> Iterator[Asked]:
    for thing in chance.choice(np.flatnonzero(~likes), _EACH, replace=False).tolist():
        yield Asked(world.things.name(thing, "en"), "others", wanting(world.things, thing))


def _ndcg(wanted: Floats, top: NDArray[np.int64]) -> float:
    worth = discounts(np.arange(1.0, len(top) + 1))
    return float(wanted[top] @ worth / (-np.sort(-wanted)[: len(top)] @ worth))


def _reciprocal_rank(is_right: NDArray[np.bool_]) -> float:
    return float(1 / (is_right.argmax() + 1)) if is_right.any() else 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it. Writes the part `personal` of `benchmarks/results/learning.json` with `--keep`."""
    usual = PersonalSettings()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning.personal", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="default %(default)s")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.15, 0.2, 0.3])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[TEMPERATURE])
    parser.add_argument("--fits", type=float, nargs="+", default=[FITS])
    parser.add_argument("--history", type=int, default=usual.documents, help="default %(default)s")
    parser.add_argument("--people", type=int, default=PEOPLE, help="default %(default)s")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/learning.json")
    options = parser.parse_args(arguments)
    encoder = load_encoder("lite", threads=1)
    towns = [Town(seed, encoder, people=options.people, history=options.history) for seed in options.seeds]
    rows = []
    for weight, temperature, least in product(options.weights, options.temperatures, options.fits):
        attend = partial(attention, temperature=temperature, least=least)
        found = [town.figures(weight, attend) for town in towns]
        rows.append(
            {"weight": weight, "temperature": temperature, "fits": least}
            | {kind: [each[kind] for each in found] for kind in ("ambiguous", "first liked", "others")}
        )
        print(markdown(list(rows[-1]), [[*map(_told, rows[-1].values())]]).splitlines()[-1], flush=True)
    if options.keep:
        print(f"kept in {keep('learning', 'personal', rows)}")


def _told(value: object) -> object:
    if isinstance(value, list):
        return f"{np.mean(value):.1f} ({min(value):.1f} – {max(value):.1f})"
    return value


if __name__ == "__main__":
    main()
