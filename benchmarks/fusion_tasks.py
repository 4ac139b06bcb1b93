"""What fusion is tuned and measured on: tasks with documents, queries and judgements.

Tuned on: pages of the African Storybook (CC BY 4.0) and names of emoji (Unicode CLDR, with OpenMoji's drawings).
Measured on, never tuned on: the abstracts of Cranfield and Vaswani, and photos of clothes.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trieflow.demo_pictures import LANGUAGES, all_pictures

STORY_LANGUAGES = ("ar", "de", "en", "es", "fr", "it", "ja", "ko", "nl", "pl", "pt", "ru", "tr", "zh")
_UNSPACED = {"ja", "zh"}
_QUERIES = 40
"""Queries by language of a task with many languages."""
_SHORTEST = 15


@dataclass(frozen=True)
class Item:
    """A document: text, the path of a picture or its bytes, or both."""

    document_id: str
    text: str = ""
    language: str | None = None
    picture: Path | bytes | None = None


@dataclass(frozen=True)
class Ask:
    """A query; `relevant`: document id -> gain. `own` is not an answer."""

    text: str
    language: str | None
    relevant: Mapping[str, int]
    own: str | None = None


@dataclass(frozen=True)
class Task:
    """Documents and queries; tasks of equal `pool` share their documents."""

    name: str
    pool: str
    documents: Sequence[Item] = field(repr=False)
    asks: Sequence[Ask] = field(repr=False)


def tuning_tasks(data: Path) -> list[Task]:
    """The tasks that weights are chosen by."""
    return [*_story_tasks(data / "storybook"), *_emoji_tasks()]


def test_tasks(data: Path) -> list[Task]:
    """The tasks that weights are measured on."""
    return [
        _abstracts(data / "text", "cranfield"),
        _abstracts(data / "text", "vaswani"),
        _clothing(data / "clothing"),
    ]


def _story_tasks(folder: Path) -> list[Task]:
    pages = [page for page in _lines(folder / "pages.jsonl") if isinstance(page["text"], dict)]
    documents = [
        Item(f"{page['id']}/{language}", page["text"][language], language)
        for page in pages
        for language in STORY_LANGUAGES
        if len(page["text"].get(language, "")) >= _SHORTEST
    ]
    by_language: dict[str, list[Item]] = defaultdict(list)
    for document in documents:
        by_language[document.language or ""].append(document)

    def asks(
        wording: Callable[[Item, random.Random], str], relevant: Callable[[Item], list[Item]]
    ) -> list[Ask]:
        chosen = random.Random(0)
        made = []
        for language in STORY_LANGUAGES:
            candidates = [document for document in by_language[language] if relevant(document)]
            for own in chosen.sample(candidates, min(_QUERIES, len(candidates))):
                gains = {document.document_id: 1 for document in relevant(own)}
                left_out = None if own.document_id in gains else own.document_id
                made.append(Ask(wording(own, chosen), language, gains, left_out))
        return made

    by_page, by_story = defaultdict(list), defaultdict(list)
    for document in documents:
        by_page[_page(document)].append(document)
        by_story[_story(document), document.language].append(document)

    def same_story(own: Item) -> list[Item]:
        return [other for other in by_story[_story(own), own.language] if other is not own]

    def translations(own: Item) -> list[Item]:
        return [other for other in by_page[_page(own)] if other is not own]

    return [
        Task("story: three words, their page", "story", documents, asks(_words(3), lambda own: [own])),
        Task("story: eight words, other pages of the story", "story", documents, asks(_words(8), same_story)),
        Task(
            "story: a page, its translations", "story", documents, asks(lambda own, _: own.text, translations)
        ),
    ]


def _story(document: Item) -> str:
    return document.document_id.split("-")[0]


def _page(document: Item) -> str:
    return document.document_id.rpartition("/")[0]


def _words(count: int) -> Callable[[Item, random.Random], str]:
    """So many words in a row, from somewhere in the text; two characters stand for a word without spaces."""

    def wording(own: Item, chosen: random.Random) -> str:
        units = list(own.text) if own.language in _UNSPACED else own.text.split()
        wanted = 2 * count if own.language in _UNSPACED else count
        start = chosen.randrange(max(1, len(units) - wanted + 1))
        return ("" if own.language in _UNSPACED else " ").join(units[start : start + wanted])

    return wording


def _emoji_tasks() -> list[Task]:
    """As the demo publishes them: half have a title, in one of twelve languages, all have a picture."""
    pictures = [picture for picture in all_pictures().values() if picture.title is not None]
    documents = [
        Item(picture.document_id, picture.title or "", picture.title_language, picture.png())
        for picture in pictures
    ]
    chosen = random.Random(0)
    own, across, word = [], [], []
    for picture in chosen.sample(pictures, 40 * 12):
        gains = {picture.document_id: 1}
        language = picture.title_language or ""
        other = chosen.choice([each for each in LANGUAGES if each != language])
        own.append(Ask(picture.names[language], language, gains))
        across.append(Ask(picture.names[other], other, gains))
        words = picture.names[language].split()
        sharing = {each.document_id: 1 for each in pictures if each.title_language == language
                   and words[-1] in (each.title or "").split()}  # fmt: skip
        if len(words) > 1:
            word.append(Ask(words[-1], language, sharing))
    return [
        Task("emoji: the name, its picture", "emoji", documents, own),
        Task("emoji: the name in another language", "emoji", documents, across),
        Task("emoji: one word of names", "emoji", documents, word),
    ]


def _abstracts(folder: Path, name: str) -> Task:
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for line in _lines(folder / f"{name}.qrels.jsonl"):
        if line["relevance"] > 0:
            judged[line["query"]][line["document"]] = 1
    documents = [Item(line["id"], line["text"]) for line in _lines(folder / f"{name}.docs.jsonl")]
    asks = [
        Ask(line["text"], None, judged[line["id"]])
        for line in _lines(folder / f"{name}.queries.jsonl")
        if judged[line["id"]]
    ]
    return Task(name, name, documents, asks)


def _clothing(folder: Path) -> Task:
    photos = _lines(folder / "photos.jsonl")
    documents = [Item(photo["id"], picture=folder / photo["picture"]) for photo in photos]
    labels = sorted({photo["label"] for photo in photos})
    asks = [
        Ask(label, "en", {photo["id"]: 1 for photo in photos if photo["label"] == label}) for label in labels
    ]
    return Task("clothing", "clothing", documents, asks)


def _lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
