"""What the demo asks, and what it expects: by word, by drawing, by signed parts, by document, by generated ids.

The list was fixed before any answer was seen, and nothing is sorted by hand: a miss is shown as a miss.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict, Unpack

from streams.errors import TrieflowError
from streams.events.queries import Result, SearchMode
from trieflow.client import Client
from trieflow.demo_pictures import LANGUAGES, Picture
from trieflow.questions import Freshness

TOP = 10

_BY_WORD = {
    "en": "🚒",
    "de": "🥾",
    "fr": "🚲",
    "es": "🍓",
    "it": "🌋",
    "pt": "🧦",
    "ru": "🦉",
    "tr": "🧀",
    "ar": "🔑",
    "ja": "🐘",
    "zh": "🎸",
    "ko": "🐢",
}
_DRINKS, _ALCOHOL = "☕🍵🥛🧃🥤🧋", "🍺🍻🍷🍸🍹🥂🍾🍶"
_FRUIT = "🍒🍎🍏🍐🍑🍊🍋🍌🍉🍇🍈🍍🥭🥝🫐🍅"
OUTLINE_OF, _BOOT, _LIKE = "🐌", "👢", "🍓"
UPDATED, NEW_TITLE, ABOUT_NEW_TITLE = "🧦", "Geburtstagsgeschenk für Oma", "a birthday present for grandma"
_SEED = 2


class DemoAnswerError(TrieflowError):
    """A question of the demo was answered with an error. `trieflow status` shows what does not run."""


class Beside(TypedDict, total=False):
    """What a question carries beside its parts."""

    read_after: Freshness | None
    learn: bool
    user_id: str
    session_id: str
    previous_query_id: str | None


@dataclass(frozen=True)
class Question:
    """A question, and the documents of which one should be among the hits."""

    about: str
    parts: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None
    drawing: bytes | None = None
    like: str | None = None
    mode: SearchMode = "auto"
    expected: frozenset[str] = frozenset()
    unwanted: frozenset[str] = frozenset()

    @property
    def words(self) -> str:
        """The texts with their signs, as a person would write them down."""
        signs = ["" if weight > 0 else "minus " for weight in self.weights or [1.0] * len(self.parts)]
        return " ".join(f"{sign}“{text}”" for sign, text in zip(signs, self.parts, strict=False))


@dataclass(frozen=True)
class Answer:
    """A question with its answer, and the milliseconds from asking to having it."""

    question: Question
    result: Result
    round_trip_ms: float

    @property
    def found_ids(self) -> list[str]:
        return [hit.document_id for hit in self.result.hits or []]

    @property
    def rank(self) -> int | None:
        """The position of the first expected document, None when it is not among the hits."""
        wanted = (n for n, found in enumerate(self.found_ids, 1) if found in self.question.expected)
        return next(wanted, None)

    @property
    def unwanted_count(self) -> int:
        return sum(found in self.question.unwanted for found in self.found_ids)


@dataclass
class NameTest:
    """How often the thing itself was among the first hits when it was asked for by its name."""

    asked: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    round_trips_ms: list[float] = field(default_factory=list)

    def add(self, kind: str, *, found: bool, round_trip_ms: float) -> None:
        self.asked[kind] = self.asked.get(kind, 0) + 1
        self.found[kind] = self.found.get(kind, 0) + found
        self.round_trips_ms.append(round_trip_ms)


def needed() -> list[str]:
    """The characters of all things that the questions name: they are published in the smallest demo too."""
    shown = [*_BY_WORD.values(), OUTLINE_OF, _BOOT, _LIKE, *_DRINKS, *_ALCOHOL, *_FRUIT]
    return list(dict.fromkeys(shown))


def questions(pictures: Mapping[str, Picture], *, fitted: bool) -> Iterator[Question]:
    """The questions, in the order of the show. `pictures`: what was published, by characters.

    Generated ids are asked for when a tree of meanings is `fitted`.
    """
    for language, characters in _BY_WORD.items():
        yield _by_word(pictures[characters], language)
    snail, boot, hiking_boot = (pictures[each] for each in (OUTLINE_OF, _BOOT, "🥾"))
    yield Question(
        "a drawing without colours",
        drawing=snail.png(outline=True),
        expected=frozenset([snail.document_id]),
    )
    yield Question(
        "a drawing of a woman's boot, and a word",
        ("hiking",),
        drawing=boot.png(outline=True),
        expected=frozenset([hiking_boot.document_id]),
    )
    drinks, alcohol = _ids(pictures, _DRINKS), _ids(pictures, _ALCOHOL)
    yield Question("a word", ("a drink",), expected=drinks, unwanted=alcohol)
    yield Question(
        "a word minus a word", ("a drink", "alcohol"), (1.0, -0.5), expected=drinks, unwanted=alcohol
    )
    like = pictures[_LIKE].document_id
    yield Question("like a document", like=like, expected=_ids(pictures, _FRUIT))
    if fitted:
        yield _by_generated_ids(pictures["🎸"])


def _by_generated_ids(picture: Picture) -> Question:
    return Question(
        "in Chinese again, by generated ids alone",
        (picture.names["zh"],),
        mode="generative",
        expected=frozenset([picture.document_id]),
    )


def ask(client: Client, question: Question, **beside: Unpack[Beside]) -> Answer:
    """Ask one question. `beside`: what it carries beside, as a session.

    A probe unless `beside` says otherwise: nothing is learned from it and chance does not order its answer.
    Raises DemoAnswerError, NoAnswerError, BrokerError.
    """
    carried: Beside = {"learn": False, **beside}
    started = time.perf_counter()
    result = client.search(
        question.parts,
        weights=question.weights,
        image=question.drawing,
        like=question.like,
        mode=question.mode,
        top_k=TOP,
        timeout=30.0,
        **carried,
    )
    if result.error is not None:
        raise DemoAnswerError(f"{question.about}: {result.error.code}: {result.error.message}")
    return Answer(question, result, (time.perf_counter() - started) * 1_000)


def ask_names(client: Client, pictures: Sequence[Picture], count: int) -> NameTest:
    """Ask for `count` things drawn by lot, each by its name in a language that is not its title's."""
    lot = random.Random(_SEED)
    test = NameTest()
    for picture in lot.sample(list(pictures), min(count, len(pictures))):
        language = lot.choice([each for each in LANGUAGES if each != picture.title_language])
        answer = ask(client, _by_word(picture, language))
        kind = "titled in another language" if picture.title else "picture alone"
        test.add(kind, found=answer.rank is not None, round_trip_ms=answer.round_trip_ms)
    return test


def _by_word(picture: Picture, language: str) -> Question:
    title = picture.title_language
    how = "a picture alone" if title is None else f"titled in {LANGUAGES[title]}"
    return Question(
        f"in {LANGUAGES[language]}: {picture.names['en']} ({how})",
        (picture.names[language],),
        expected=frozenset([picture.document_id]),
    )


def _ids(pictures: Mapping[str, Picture], characters: str) -> frozenset[str]:
    return frozenset(pictures[each].document_id for each in characters)
