"""Adapters from a log of answers, by training, weakening and losses of the trainer, without Kafka between them.

The known items that weaken an adapter are the guard queries, as where `training.guard` names a file of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from agents.training import weakened
from benchmarks.learning.exact_system import Answer
from benchmarks.learning.study import Study
from benchmarks.learning.world import ORDINARY_LANGUAGES, Floats, Things
from models.adapter.adapter import QueryAdapter
from models.adapter.data import Documents, Lesson, Pairs
from models.adapter.losses import LossWeights
from models.adapter.training import AdapterOptions, train_adapter
from state.clicks.rows import LINKED

NAIVE = LossWeights(replay=0.0, identity=0.0)
"""Clicks alone."""


@dataclass(frozen=True)
class Recipe:
    """How an adapter is made: options of its training, whether it is weakened until the guard holds (WiSE), whether
    clicks on the answer to a rephrasing count for the query before."""

    options: AdapterOptions = field(default_factory=AdapterOptions)
    is_weakened: bool = True
    links: bool = True


@dataclass(frozen=True)
class Made:
    """An adapter and the share of its training that is left of it."""

    adapter: QueryAdapter
    share: float


def make_adapter(study: Study, lesson: Lesson, recipe: Recipe) -> Made:
    """Train on a lesson, and weaken. Repeatable for the seed of the study."""
    if not recipe.links:
        lesson = replace(lesson, clicks=lesson.clicks.rows(lesson.clicks.weights == 1.0))
    trained = train_adapter(lesson, options=replace(recipe.options, seed=study.seed))
    if not recipe.is_weakened:
        return Made(trained.adapter, 1.0)
    queries = study.vectors[study.guard_rows]
    return Made(*weakened(trained, lambda adapter: study.guard(adapter(queries) @ study.things.T)))


def scores_of(study: Study, adapter: QueryAdapter) -> Floats:
    """Scores (texts, things) of queries that the adapter moved."""
    return np.asarray(adapter(study.vectors) @ study.things.T)


def make_lesson(study: Study, answers: Sequence[Answer], *, most: int | None = None) -> Lesson:
    """What answers teach. most: clicks of one user that count for a thing, by default as the learner counts."""
    titles, tags = _catalogue(study)
    same = np.ones(len(study.things), dtype=np.float32)
    clicks = list(_chosen(answers, most or study.settings.clicks_per_user))
    rows, things, weights = (np.array(each) for each in zip(*clicks, strict=True))
    return Lesson(
        documents=Documents(study.things, 0 * same, same, np.arange(len(same))),
        clicks=Pairs(study.vectors[rows], things, weights.astype(np.float32)),
        titles=titles,
        tags=tags,
        asked=study.vectors[np.unique([answer.text for answer in answers])],
        held_out=Pairs.none(study.vectors.shape[1]),
    )


def shuffled_clicks(lesson: Lesson, seed: int) -> Lesson:
    """The lesson with things that were clicked for other queries, at random."""
    clicks = lesson.clicks
    other = np.random.default_rng([seed, 10]).permutation(len(clicks))
    return replace(lesson, clicks=replace(clicks, targets=clicks.targets[other]))


def _chosen(answers: Sequence[Answer], most: int) -> Iterator[tuple[int, int, float]]:
    """(text, thing, weight) of clicks; with one on the answer to a rephrasing the query before counts too, half."""
    texts = {answer.query_id: answer.text for answer in answers}
    counted: Counter[tuple[str, int]] = Counter()
    for answer in answers:
        for place in answer.clicked:
            thing = int(answer.shown[place])
            counted[answer.user, thing] += 1
            if counted[answer.user, thing] > most:
                continue
            yield answer.text, thing, 1.0
            if answer.previous is not None:
                yield texts[answer.previous], thing, LINKED


def _catalogue(study: Study) -> tuple[Pairs, Pairs]:
    """Names and tags that only one thing has: the English names as titles, the others as tags."""
    things = study.world.things
    every = [
        (text, thing, place == 0)
        for thing in range(len(study.things))
        for place, text in enumerate(dict.fromkeys(_words(things, thing)))
    ]
    times = Counter(text.casefold() for text, _, _ in every)
    named = [each for each in every if times[each[0].casefold()] == 1]
    return tuple(_named(study, [each for each in named if each[2] is title]) for title in (True, False))  # type: ignore[return-value]


def _words(things: Things, thing: int) -> list[str]:
    assert ORDINARY_LANGUAGES[0] == "en"
    return things.known_words(thing)


def _named(study: Study, named: Sequence[tuple[str, int, bool]]) -> Pairs:
    queries = study.encoded([text for text, _, _ in named])
    targets = np.array([thing for _, thing, _ in named], dtype=np.int64)
    return Pairs(queries, targets, np.ones(len(named), dtype=np.float32))
