"""`and`, `or`, `not` on real names: what the roles of parts bring against weights that are added up.

Documents are the demo's drawings, half of them with a title in one language; queries are words of their English
names, and a document has a word when its name has it. `python -m benchmarks.algebra` (a minute or two).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.tables import keep, markdown
from benchmarks.train_lite.progress import tracked
from models.encoders.base import Part, PicturePart, TextPart
from models.encoders.lite import LiteEncoder
from state.combining import combined
from streams.events.queries import PartRole
from trieflow.demo_pictures import Picture, all_pictures

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Score = Callable[[Floats, Floats], Floats]

_FREQUENT = 12
_AT_ONCE = 32
_NO_THINGS = {"with", "and", "the", "for", "button", "sign", "symbol", "facing", "right", "left", "down"}


@dataclass(frozen=True)
class Question:
    """Two words, which documents are right, and which are clearly wrong."""

    words: tuple[str, str]
    right: Mask
    wrong: Mask


class Drawings:
    """Scores of words for all drawings, calibrated."""

    def __init__(self) -> None:
        self._encoder = LiteEncoder.load()
        self.pictures = list(all_pictures().values())
        self._titled = [row for row, picture in enumerate(self.pictures) if picture.title]
        self._drawn = self._encoded([_part(picture) for picture in self.pictures])
        self._titles = self._encoded([TextPart(str(self.pictures[row].title)) for row in self._titled])
        self._known: dict[str, Floats] = {}

    def scores(self, word: str) -> Floats:
        """Of all documents (n,): the better of picture and title."""
        if word not in self._known:
            query = self._encoder.encode([TextPart(word)], side="query").vectors[0]
            pictures, texts = (self._encoder.description.calibration[f"text>{k}"] for k in ("image", "text"))
            scores = (self._drawn @ query - pictures.mean) / pictures.spread
            titles = (self._titles @ query - texts.mean) / texts.spread
            scores[self._titled] = np.maximum(scores[self._titled], titles)
            self._known[word] = scores
        return self._known[word]

    def words(self) -> dict[str, Mask]:
        """Which drawings have each word in their English name."""
        rows: dict[str, list[int]] = {}
        for row, picture in enumerate(self.pictures):
            for word in set(picture.names["en"].lower().replace("-", " ").split()):
                if len(word) > 2 and word.isalpha() and word not in _NO_THINGS:
                    rows.setdefault(word, []).append(row)
        return {word: np.isin(np.arange(len(self.pictures)), found) for word, found in rows.items()}

    def _encoded(self, parts: Sequence[Part]) -> Floats:
        starts = tracked(range(0, len(parts), _AT_ONCE), total=-(-len(parts) // _AT_ONCE), label="encode")
        batches = [
            self._encoder.encode(parts[start : start + _AT_ONCE], side="document").vectors for start in starts
        ]
        return np.concatenate(batches)


def _part(picture: Picture) -> Part:
    return PicturePart(Image.open(BytesIO(picture.png())).convert("RGB"))


def both(words: dict[str, Mask]) -> list[Question]:
    """Two words that some names have together, and more names apart."""
    known = {word: has for word, has in words.items() if has.sum() >= 3}
    found = []
    for one, other in combinations(known, 2):
        right = known[one] & known[other]
        if 2 <= right.sum() <= min(20, 0.8 * min(known[one].sum(), known[other].sum())):
            found.append(Question((one, other), right, ~right))
    return found


def either(words: dict[str, Mask]) -> list[Question]:
    """Two frequent words that no name has together."""
    known = {word: has for word, has in words.items() if has.sum() >= _FREQUENT}
    pairs = [pair for pair in combinations(known, 2) if not (known[pair[0]] & known[pair[1]]).any()]
    return [Question(pair, right := known[pair[0]] | known[pair[1]], ~right) for pair in pairs]


def without(words: dict[str, Mask], drawings: Drawings) -> list[Question]:
    """A frequent word without another, which stands among the first ten when nothing leaves it out."""
    found = []
    for one, has in words.items():
        if has.sum() >= _FREQUENT:
            first = _first(drawings.scores(one))
            for other, has_other in words.items():
                if other != one and has_other[first].any() and (has & ~has_other).sum() >= len(first):
                    found.append(Question((one, other), has & ~has_other, has_other))
    return found


def weighted(one: float, other: float) -> Score:
    """The plain sum."""
    return lambda first, second: np.float32(one) * first + np.float32(other) * second


def joined(one: PartRole, other: PartRole) -> Score:
    """By the roles."""
    return lambda first, second: combined(np.stack([first, second]), np.ones(2, np.float32), [one, other])


def measured(questions: Sequence[Question], drawings: Drawings, score: Score) -> list[float]:
    """Precision among the first ten (or as many as are right), mean average precision, share of wrong ones."""
    rows = []
    for question in questions:
        scores = score(*(drawings.scores(word) for word in question.words))
        first = _first(scores)
        wanted = min(len(first), int(question.right.sum()))
        ranks = np.flatnonzero(question.right[np.argsort(-scores, kind="stable")]) + 1
        rows.append(
            [
                question.right[first[:wanted]].mean(),
                (np.arange(1, len(ranks) + 1) / ranks).mean(),
                question.wrong[first].mean(),
            ]
        )
    return [float(value) for value in np.mean(rows, axis=0)]


def _first(scores: Floats) -> NDArray[np.int64]:
    return np.argsort(-scores, kind="stable")[:10]


def main() -> None:
    """Measure, print the table, keep the figures."""
    drawings = Drawings()
    words = drawings.words()
    families: dict[str, tuple[list[Question], dict[str, Score]]] = {
        "and": (both(words), {"sum": weighted(1, 1), "roles": joined("and", "and")}),
        "or": (either(words), {"sum": weighted(1, 1), "roles": joined("or", "or")}),
        "not": (
            without(words, drawings),
            {
                "left out of the question": weighted(1, 0),
                "weight -0.25": weighted(1, -0.25),
                "weight -0.5": weighted(1, -0.5),
                "weight -1": weighted(1, -1),
                "roles": joined("and", "not"),
            },
        ),
    }
    figures = []
    for role, (questions, ways) in families.items():
        # The constants were chosen on the words of the first half.
        halves = [zlib.crc32(question.words[1].encode()) % 2 for question in questions]
        for name, score in ways.items():
            for half, title in enumerate(("chosen on", "held out")):
                of_half = [each for each, number in zip(questions, halves, strict=True) if number == half]
                figures.append([role, name, title, len(of_half), *measured(of_half, drawings, score)])
    header = ["role", "way", "half", "questions", "precision@10", "average precision", "wrong among 10"]
    print(markdown(header, figures))
    keep("algebra", "demo", [dict(zip(header, row, strict=True)) for row in figures])


if __name__ == "__main__":
    main()
