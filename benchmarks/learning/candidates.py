"""Candidates to judge the gates by: such as ought to be served, and such as must not be.

A candidate is a function from a study to scores (texts, things). To add one, add it to `CANDIDATES`; what is fitted
may use `Study.training` and `Study.spam` alone, never `Study.held_out`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.learning.adapters import (
    NAIVE,
    Recipe,
    make_adapter,
    make_lesson,
    scores_of,
    shuffled_clicks,
)
from benchmarks.learning.study import Study
from benchmarks.learning.world import Floats
from models.adapter.data import Lesson
from models.adapter.training import AdapterOptions

_NO_CAP = 1_000_000
_NOISE = 0.01
"""In cosines."""
_HASTE = 30
_NAIVE = Recipe(AdapterOptions(loss=NAIVE), is_weakened=False)


@dataclass(frozen=True)
class Candidate:
    """scores: (texts, things) of a study. good: whether it ought to be served."""

    scores: Callable[[Study], Floats]
    good: bool


def click_memory(study: Study) -> Floats:
    return study.incumbent + study.remembered


def shuffled_memory(study: Study) -> Floats:
    """Lists and clicks belong to other queries, at random; nothing is said of rephrasings."""
    answers = study.training
    other = np.random.default_rng([study.seed, 6]).permutation(len(answers))
    return study.with_memory(
        [
            replace(
                answer,
                shown=answers[place].shown,
                clicked=answers[place].clicked,
                uppers=answers[place].uppers,
                previous=None,
            )
            for answer, place in zip(answers, other.tolist(), strict=True)
        ]
    )


def spammed_memory(study: Study) -> Floats:
    """Forged lists are believed, and no cap holds."""
    return study.with_memory(study.spam, study.settings.model_copy(update={"clicks_per_user": _NO_CAP}))


def noise(study: Study) -> Floats:
    chance = np.random.default_rng([study.seed, 7])
    length = np.linalg.norm(study.vectors, axis=1).mean() * np.linalg.norm(study.things, axis=1).mean()
    drawn = chance.normal(size=study.incumbent.shape).astype(np.float32)
    return study.incumbent + np.float32(_NOISE * length) * drawn


def adapter(study: Study) -> Floats:
    """As the trainer makes it: recommended options, weakened until the guard holds."""
    return _adapted(study, make_lesson(study, study.training), Recipe())


def adapter_with_memory(study: Study) -> Floats:
    return adapter(study) + study.remembered


def naive_adapter(study: Study) -> Floats:
    """Clicks alone: nothing is said again, nothing pulled back, nothing weakened."""
    return _adapted(study, make_lesson(study, study.training), _NAIVE)


def adapter_of_shuffled_clicks(study: Study) -> Floats:
    return _shuffled(study, Recipe(is_weakened=False))


def weakened_adapter_of_shuffled_clicks(study: Study) -> Floats:
    """What the trainer makes of clicks that say nothing: weakened until the guard holds, or to the last share."""
    return _shuffled(study, Recipe())


def hasty_adapter(study: Study) -> Floats:
    """Thirty times the learning rate."""
    rate = AdapterOptions().learning_rate * _HASTE
    recipe = Recipe(AdapterOptions(learning_rate=rate), is_weakened=False)
    return _adapted(study, make_lesson(study, study.training), recipe)


def spammed_adapter(study: Study) -> Floats:
    """Forged lists are believed, no cap holds, and clicks alone are learned from."""
    return _adapted(study, make_lesson(study, study.spam, most=_NO_CAP), _NAIVE)


def _shuffled(study: Study, recipe: Recipe) -> Floats:
    lesson = make_lesson(study, study.training)
    return _adapted(study, shuffled_clicks(lesson, study.seed), recipe)


def _adapted(study: Study, lesson: Lesson, recipe: Recipe) -> Floats:
    return scores_of(study, make_adapter(study, lesson, recipe).adapter)


CANDIDATES: Mapping[str, Candidate] = {
    "click memory": Candidate(click_memory, good=True),
    "adapter": Candidate(adapter, good=True),
    "adapter and click memory": Candidate(adapter_with_memory, good=True),
    "memory of shuffled labels": Candidate(shuffled_memory, good=False),
    "memory with spam, no cap": Candidate(spammed_memory, good=False),
    "noise on the scores": Candidate(noise, good=False),
    "adapter of clicks alone": Candidate(naive_adapter, good=False),
    "adapter of clicks alone, spam, no cap": Candidate(spammed_adapter, good=False),
    "adapter of shuffled labels": Candidate(adapter_of_shuffled_clicks, good=False),
    "adapter of shuffled labels, weakened": Candidate(weakened_adapter_of_shuffled_clicks, good=False),
    "adapter, learning rate x 30": Candidate(hasty_adapter, good=False),
}
