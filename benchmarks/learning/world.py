"""A world to learn in: 1,914 things, queries about them, and how much each thing is wanted for each query.

Names, tags and groups are those of emoji in thirteen languages (emojibase-data, MIT, in this folder). A thing is
published as a vector alone, turned away from the vector of its English name and tags, as a picture's would be; so
names find things about as well as a picture encoder lets them. Nobody explains the lessons to the system:

- *words*: 60 invented ones, 30 for a group of things, 30 for one thing;
- *preferences*: 60 ambiguous queries (30 tags, 30 names of groups) with one member that people want.

Three wordings of each are asked by people (`seen`), eight others only when it is measured (`unseen`).
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Kind = Literal[
    "words seen",
    "words unseen",
    "preferences seen",
    "preferences unseen",
    "ordinary",
    "near",
    "far",
    "rephrasing",
]

NAMES = Path(__file__).parent / "emoji_names.json"
WANTED, RELATED, NOISE = 0.8, 0.3, 0.05
"""How likely somebody who looks at a thing clicks it: the one that is meant, another of its group, any other."""
SEEN = ("{}", "{} emoji", "a {} picture")
UNSEEN = (
    "send me {}",
    "show {} please",
    "{} sticker",
    "Bild von {}",
    "imagen de {}",
    "{}の絵",
    "{} 图片",
    "картинка {}",
)
ORDINARY_LANGUAGES = ("en", "de", "fr")
COSINE = 0.8
"""Between a thing and its name and tags: names then find things about as with a larger picture encoder."""
_MAIN_AXES = 96
LESSONS = 30
"""For groups of things, for single things; of tags, of names of groups."""
# fmt: off
_ONSETS = [
    "b", "bl", "br", "d", "dr", "f", "fl", "g", "gl", "gr", "k", "kl", "kr", "m", "n", "p", "pl", "pr", "qu", "r",
    "s", "sk", "sn", "sp", "st", "t", "tr", "v", "vr", "w", "y", "z", "zw",
]
# fmt: on
_VOWELS = ["a", "e", "i", "o", "u", "oo", "ee", "ou", "ai"]
_CODAS = [
    "b",
    "ck",
    "d",
    "ff",
    "g",
    "lk",
    "m",
    "mp",
    "n",
    "nk",
    "p",
    "rb",
    "rf",
    "rk",
    "sh",
    "t",
    "v",
    "x",
    "zz",
]
_ENDINGS = ("", "ie", "o", "er", "a", "ix")


@dataclass(frozen=True)
class Things:
    """What is known of the things: names (n, languages), tags, number of the group; names of groups by language."""

    languages: Sequence[str]
    names: Sequence[Sequence[str]]
    tags: Sequence[Sequence[str]]
    groups: NDArray[np.int64]
    group_names: Sequence[Sequence[str]]

    def name(self, thing: int, language: str) -> str:
        return self.names[thing][self.languages.index(language)]

    def known_words(self, thing: int) -> list[str]:
        """What stands in its document: names in the languages of ordinary traffic, and tags."""
        return [self.name(thing, language) for language in ORDINARY_LANGUAGES] + list(self.tags[thing])


@cache
def things() -> Things:
    """All of them."""
    found: dict[str, Any] = json.loads(NAMES.read_text(encoding="utf-8"))
    groups, tags, names = zip(*found["items"], strict=True)
    return Things(found["languages"], names, tags, np.array(groups), found["groups"])


@dataclass(frozen=True)
class Asked:
    """A query of the world. wanted: (n,) how likely each thing is clicked by whoever looks at it."""

    text: str
    kind: Kind
    wanted: Floats
    lesson: int = -1


@dataclass
class World:
    """Queries by kind, what people say instead of a word, and the vectors (n, d) of the things."""

    things: Things
    vectors: Floats
    asked: list[Asked] = field(default_factory=list)
    other_words: dict[int, list[Asked]] = field(default_factory=dict)
    taught: set[int] = field(default_factory=set)
    _known: dict[str, Asked] = field(default_factory=dict)

    def of(self, kind: Kind) -> list[Asked]:
        return [each for each in self.asked if each.kind == kind]

    def add(self, text: str, kind: Kind, wanted: Floats, lesson: int = -1) -> Asked | None:
        """A query, unless its text is there already."""
        if text in self._known:
            return None
        made = self._known[text] = Asked(text, kind, wanted, lesson)
        self.asked.append(made)
        return made

    def query(self, text: str) -> Asked:
        return self._known[text]


def make_world(
    seed: int,
    encode: Callable[[Sequence[str]], Floats],
    *,
    count: int | None = None,
    lessons: int = LESSONS,
) -> World:
    """The world of a seed. encode: from texts to vectors (n, d).

    count: only so many things; lessons: so many of each of the four kinds. Both for tests.
    """
    every = things()
    if count is not None:
        every = Things(
            every.languages, every.names[:count], every.tags[:count], every.groups[:count], every.group_names
        )
    chance = np.random.default_rng(seed)
    world = World(every, _vectors(every, encode, chance))
    left = _teach_words(world, chance, lessons)
    _teach_preferences(world, chance, encode, left, lessons)
    _add_ordinary(world, chance)
    _add_untouched(world, chance)
    return world


def _vectors(every: Things, encode: Callable[[Sequence[str]], Floats], chance: np.random.Generator) -> Floats:
    """The means of name and tags, turned away, mostly within their main directions."""
    texts = sorted({text for n in range(len(every.names)) for text in (every.name(n, "en"), *every.tags[n])})
    encoded = dict(zip(texts, encode(texts), strict=True))
    own = np.stack([_mean_of(every, n, encoded) for n in range(len(every.names))])
    lengths = np.linalg.norm(own, axis=1, keepdims=True)
    own = _unit(own)
    _, spread, axes = np.linalg.svd(own - own.mean(axis=0), full_matrices=False)
    axes, spread = axes[:_MAIN_AXES], spread[:_MAIN_AXES]
    structured = _unit(chance.normal(size=(len(own), len(axes))) * (spread / spread[0]) @ axes)
    away = _unit(structured + 0.6 * _unit(chance.normal(size=own.shape)))
    away = _unit(away - (away * own).sum(axis=1, keepdims=True) * own)
    turned = COSINE * own + np.sqrt(1 - COSINE**2) * away
    return np.asarray(_unit(turned) * lengths.mean(), dtype=np.float32)


def _mean_of(every: Things, thing: int, encoded: dict[str, Floats]) -> Floats:
    tags = [encoded[tag] for tag in every.tags[thing]]
    name = encoded[every.name(thing, "en")]
    return np.asarray(name + np.mean(tags, axis=0) if tags else name, dtype=np.float32)


# -- lessons ------------------------------------------------------------------------------------------------


def _teach_words(world: World, chance: np.random.Generator, lessons: int) -> list[int]:
    """Invented words; returns the groups that are left for preferences."""
    every, sizes = world.things, np.bincount(world.things.groups)
    groups = chance.permutation([group for group, size in enumerate(sizes) if 5 <= size <= 60])
    taken = set(groups[:lessons].tolist())
    free = np.flatnonzero(~np.isin(every.groups, list(taken)))
    single = chance.choice(free, lessons, replace=False)
    words = _invented(int(chance.integers(2**31)), 2 * lessons)
    for lesson in range(2 * lessons):
        if lesson < lessons:
            wanted = np.where(every.groups == groups[lesson], WANTED, 0).astype(np.float32)
            instead = np.flatnonzero(every.groups == groups[lesson]).tolist()
        else:
            thing = int(single[lesson - lessons])
            wanted, instead = wanting(every, thing), [thing]
        _add_wordings(
            world,
            [f.format(words[lesson]) for f in SEEN],
            [f.format(words[lesson]) for f in UNSEEN],
            "words",
            wanted,
            lesson,
        )
        world.other_words[lesson] = [_rephrasing(world, thing) for thing in instead]
        world.taught |= set(np.flatnonzero(wanted).tolist())
    return list(groups[lessons : 2 * lessons].tolist())


def _rephrasing(world: World, thing: int) -> Asked:
    name = world.things.name(thing, "en")
    return world.add(name, "rephrasing", wanting(world.things, thing)) or world.query(name)


def _teach_preferences(
    world: World,
    chance: np.random.Generator,
    encode: Callable[[Sequence[str]], Floats],
    groups: Sequence[int],
    lessons: int,
) -> None:
    """Ambiguous queries, each with one member that people want, which is not the first one now."""
    every = world.things
    by_tag: dict[str, list[int]] = defaultdict(list)
    for thing, tags in enumerate(every.tags):
        for tag in tags:
            by_tag[tag].append(thing)
    tags = [tag for tag, members in by_tag.items() if 6 <= len(members) <= 40 and len(tag) > 3]
    tags = [tags[place] for place in chance.permutation(len(tags))[:lessons]]
    asked: list[tuple[list[int], list[str], list[str]]] = [
        (by_tag[tag], [f.format(tag) for f in SEEN], [f.format(tag) for f in UNSEEN]) for tag in tags
    ]
    for group in groups:
        named = dict(zip(every.languages, every.group_names[group], strict=True))
        seen = [named[language] for language in ORDINARY_LANGUAGES]
        unseen = [name for language, name in named.items() if language not in ORDINARY_LANGUAGES]
        asked.append((np.flatnonzero(every.groups == group).tolist(), seen, unseen))
    for place, (of_it, seen, unseen) in enumerate(asked):
        members = np.array(of_it)
        scores = world.vectors[members] @ encode(seen[:1])[0]
        ranked = members[np.argsort(-scores)]
        wanted = np.zeros(len(every.names), dtype=np.float32)
        wanted[members] = RELATED
        wanted[int(chance.choice(ranked[2:8] if len(ranked) > 4 else ranked[1:]))] = WANTED
        _add_wordings(world, seen, unseen, "preferences", wanted, 2 * lessons + place)
        world.taught |= set(members.tolist())


def _add_wordings(
    world: World,
    seen: Sequence[str],
    unseen: Sequence[str],
    what: Literal["words", "preferences"],
    wanted: Floats,
    lesson: int,
) -> None:
    for text in seen:
        world.add(text, f"{what} seen", wanted, lesson)  # type: ignore[arg-type]
    for text in unseen:
        world.add(text, f"{what} unseen", wanted, lesson)  # type: ignore[arg-type]


# -- what nobody teaches ------------------------------------------------------------------------------------


def _add_ordinary(world: World, chance: np.random.Generator, count: int = 1_200) -> None:
    """Names in the languages of ordinary traffic."""
    for thing, language in _shuffled(world, chance, ORDINARY_LANGUAGES):
        if count == 0:
            return
        name = world.things.name(thing, language)
        count -= world.add(name, "ordinary", wanting(world.things, thing)) is not None


def _add_untouched(world: World, chance: np.random.Generator, far: int = 1_500, near: int = 1_000) -> None:
    """Names in languages that are absent from the traffic: of things that some lesson is about, and of others."""
    others = [each for each in world.things.languages if each not in (*ORDINARY_LANGUAGES, "es")]
    left = {"far": far, "near": near}
    for thing, language in _shuffled(world, chance, [*others, "photo"]):
        kind: Kind = "near" if thing in world.taught else "far"
        if left[kind] == 0:
            continue
        name = (
            f"photo of a {world.things.name(thing, 'en')}"
            if language == "photo"
            else world.things.name(thing, language)
        )
        left[kind] -= world.add(name, kind, wanting(world.things, thing)) is not None


def _shuffled(
    world: World, chance: np.random.Generator, languages: Sequence[str]
) -> Iterator[tuple[int, str]]:
    pairs = [(thing, language) for thing in range(len(world.things.names)) for language in languages]
    for place in chance.permutation(len(pairs)):
        yield pairs[place]


def wanting(every: Things, thing: int) -> Floats:
    """What somebody wants who means one thing."""
    wanted = np.where(every.groups == every.groups[thing], RELATED, 0).astype(np.float32)
    wanted[thing] = WANTED
    return wanted


def _invented(seed: int, count: int) -> list[str]:
    """Words that nobody knows."""
    chance, words = random.Random(seed), dict[str, None]()
    while len(words) < count:
        word = (
            chance.choice(_ONSETS) + chance.choice(_VOWELS) + chance.choice(_CODAS) + chance.choice(_ENDINGS)
        )
        if len(word) >= 5:
            words[word] = None
    return list(words)


def _unit(rows: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9))
