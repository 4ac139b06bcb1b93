"""One seed of a simulation: a world, the log of an incumbent in it, what candidates are made from and judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.click_memory import boosts, learn, unknown_words
from benchmarks.learning.exact_system import Answer, ExactSystem, people_ask, ranks_of
from benchmarks.learning.people import Habits
from benchmarks.learning.stage import encoded
from benchmarks.learning.world import ORDINARY_LANGUAGES, Floats, World, make_world
from models.encoders.base import Encoder
from models.gates.guard import GuardQueries
from streams.settings import LearningSettings

HELD_OUT = 0.2
"""Share of the sessions, the last ones."""
SPAM = 0.05
GUARD = 1_500


@dataclass(frozen=True)
class Size:
    """How much there is: clicks of the log; things and lessons as `make_world` takes them; guard queries."""

    clicks: int
    things: int | None = None
    lessons: int = 30
    guard: int = GUARD


class Study:
    """One seed: a world, the log of the incumbent in it, and what candidates are made from.

    texts: all that is scored, first those that people ask or are asked about, then the guard queries. wanted: of
    each guard query its thing.
    """

    def __init__(self, seed: int, encoder: Encoder, size: Size) -> None:
        self.seed, self.size, self._encoder = seed, size, encoder
        self.stamp = encoder.description.stamp
        self.settings = LearningSettings()
        self.world: World = make_world(
            seed, lambda texts: encoded(encoder, texts), count=size.things, lessons=size.lessons
        )
        guard = _guard_queries(self.world, seed, size.guard)
        self.wanted = np.array([thing for _, thing in guard], dtype=np.int64)
        self.texts = [asked.text for asked in self.world.asked] + [text for text, _ in guard]
        self.guard_rows = np.arange(len(self.world.asked), len(self.texts))
        self.vectors = encoded(encoder, self.texts)
        self.words = unknown_words(self.world, self.texts)
        # As the index stores and scores them: 16 bits, inner products.
        self.things = self.world.vectors.astype(np.float16).astype(np.float32)
        self.incumbent: Floats = self.vectors @ self.things.T

    @cached_property
    def log(self) -> list[Answer]:
        return people_ask(self.world, self._system(), seed=self.seed, clicks=self.size.clicks)

    @cached_property
    def spammed(self) -> int:
        """The thing that a spammer clicks wherever it is: one that no lesson is about."""
        free = [thing for thing in range(len(self.things)) if thing not in self.world.taught]
        return int(np.random.default_rng([self.seed, 5]).choice(free))

    @cached_property
    def spam(self) -> list[Answer]:
        """Training answers of a log like `log`, with one spammer in it who forges lists."""
        habits = Habits(spam=SPAM, spammed=self.spammed)
        system = self._system(forged=self.spammed)
        return _split(people_ask(self.world, system, seed=self.seed, clicks=self.size.clicks, habits=habits))[
            0
        ]

    @property
    def training(self) -> list[Answer]:
        return _split(self.log)[0]

    @property
    def held_out(self) -> list[Answer]:
        return _split(self.log)[1]

    @cached_property
    def exponent(self) -> float:
        """Of examination by position, as the training answers show it."""
        return learn(self.training, self.vectors, self.words, self.settings, stamp=self.stamp)[1]

    def with_memory(self, answers: Sequence[Answer], settings: LearningSettings | None = None) -> Floats:
        """Scores with the click memory of some answers."""
        memory, _ = learn(answers, self.vectors, self.words, settings or self.settings, stamp=self.stamp)
        return self.incumbent + boosts(memory, self.vectors, self.words, len(self.things))

    @cached_property
    def remembered(self) -> Floats:
        """What the click memory of the training answers adds to scores, (texts, things)."""
        return self.with_memory(self.training) - self.incumbent

    def encoded(self, texts: Sequence[str]) -> Floats:
        """Vectors (n, d) of texts as queries."""
        return encoded(self._encoder, texts)

    def guard(self, scores: Floats) -> GuardQueries:
        """Ranks of what the guard queries want, by the incumbent and by scores (guard queries, things)."""
        return GuardQueries(
            incumbent=self._guard_before,
            candidate=ranks_of(scores, np.arange(len(self.wanted)), self.wanted),
            in_log=np.zeros(len(self.wanted), dtype=np.bool_),
        )

    @cached_property
    def _guard_before(self) -> NDArray[np.float64]:
        return ranks_of(self.incumbent, self.guard_rows, self.wanted)

    def _system(self, forged: int | None = None) -> ExactSystem:
        rows = {asked.text: row for row, asked in enumerate(self.world.asked)}
        return ExactSystem(self.incumbent, rows, self.settings.shuffled_share, forged)


def _split(answers: Sequence[Answer]) -> tuple[list[Answer], list[Answer]]:
    """Those of the first sessions and those of the last."""
    first = (1 - HELD_OUT) * (answers[-1].session + 1)
    return [each for each in answers if each.session < first], [
        each for each in answers if each.session >= first
    ]


def _guard_queries(world: World, seed: int, count: int) -> list[tuple[str, int]]:
    """Names of things in languages that nobody asks in, which are no other query of the world."""
    taken = {asked.text for asked in world.asked}
    languages = [language for language in world.things.languages if language not in ORDINARY_LANGUAGES]
    pairs = [(thing, language) for thing in range(len(world.vectors)) for language in languages]
    found: dict[str, int] = {}
    for place in np.random.default_rng([seed, 8]).permutation(len(pairs)).tolist():
        if len(found) == count:
            break
        thing, language = pairs[place]
        name = world.things.name(thing, language)
        if name not in taken:
            found.setdefault(name, thing)
    return list(found.items())
