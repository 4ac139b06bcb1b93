"""From text to the terms that the lexical index holds and looks for. The same on both sides, and deterministic.

A word gives its stem in the language of the text and, where it differs, the word itself, without accents: so a
name or a code is found from every language. A query too short to tell its language is stemmed in all likely
ones. Scripts that put no spaces between words give single characters and overlapping pairs of them (in Thai, Lao,
Khmer and Burmese: of clusters, a consonant with its marks). No dictionary: words that are in none are found too.
Measured in `docs/adr/0009-lexical-path.md`.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from state.languages import language_of, likely_languages, stems

ANALYSIS = 1
"""To be raised with every change of the terms: an index with other terms is made anew."""
OTHER_WEIGHT = 0.5
SINGLE_WEIGHT = 0.3
"""What a literal word or a stem of another language counts in a query, and a character beside its pairs."""
_LONGEST = 64
_PIECE = 10_000
"""Characters looked at in one go, so that a long text does not hold up other threads."""


def document_terms(text: str, *, language: str | None = None) -> list[str]:
    """The terms of a text, repeated as often as they occur, in no particular order."""
    known = language_of(text, given=language)
    terms: list[str] = []
    for piece in _pieces(text):
        words, unspaced = _words(piece, known)
        for forms in _forms(words, [known]):
            terms += forms
        for units in unspaced:
            terms += units
            terms += _pairs(units)
    return terms


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """What to look for: terms with their weights; and word by word, the forms that one word may have."""

    weights: Mapping[str, float]
    words: Sequence[Sequence[str]]


def query_terms(text: str, *, language: str | None = None) -> QueryTerms:
    """The terms of a query. A word that is repeated counts as often."""
    likely = likely_languages(text, given=language)
    weights: dict[str, float] = defaultdict(float)
    all_words: list[Sequence[str]] = []
    for piece in _pieces(text):
        words, unspaced = _words(piece, likely[0])
        for forms in _forms(words, likely):
            all_words.append(forms)
            weights[forms[0]] += 1.0
            for other in forms[1:]:
                weights[other] += OTHER_WEIGHT
        for units in unspaced:
            pairs = _pairs(units)
            for whole in pairs or units:
                all_words.append([whole])
                weights[whole] += 1.0
            for unit in units if pairs else ():
                weights[unit] += SINGLE_WEIGHT
    return QueryTerms(dict(weights), all_words)


def words_with_forms(text: str, *, least: int) -> list[tuple[str, Sequence[str]]]:
    """Words of at least so many letters, as they are written but in lower case and without accents, and the terms
    that a document may have for each. Only in scripts that put spaces between words."""
    likely = likely_languages(text)
    words = [word for piece in _pieces(text) for word in _words(piece, likely[0])[0]]
    kept = [word for word in words if len(word) >= least and not word.isdigit()]
    return list(zip(map(_folded, kept), _forms(kept, likely), strict=True))


def _words(text: str, language: str) -> tuple[list[str], list[list[str]]]:
    """Words in lower case, and the units of each run that is written without spaces."""
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    if language == "tr":
        plain = plain.replace("I", "ı")
    plain = plain.lower()
    if plain.isascii():
        return [word[:_LONGEST] for word in _ASCII_WORD.findall(plain)], []
    words: list[str] = []
    unspaced: list[list[str]] = []
    for found in _WORD.findall(plain.replace("i̇", "i")):
        for spaced, characters, clusters in _SCRIPTS.findall(found):
            if spaced:
                words.append(spaced[:_LONGEST])
            else:
                unspaced.append(list(characters) if characters else _CLUSTER.findall(clusters))
    return words, unspaced


def _forms(words: Sequence[str], languages: Sequence[str]) -> Iterator[list[str]]:
    """Of each word its distinct forms: the stem in the first language, the word itself, its other stems.

    Stemmers know accents, so these go last.
    """
    stemmed = [stems(words, language) for language in languages]
    for first, *others in zip(stemmed[0], words, *stemmed[1:], strict=True):
        yield list(dict.fromkeys(map(_folded, (first, *others))))


def _folded(word: str) -> str:
    """Without accents, points and marks that writers leave out."""
    if word.isascii():
        return word
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", word).translate(_FOLDED))


def _pairs(units: Sequence[str]) -> list[str]:
    return [units[i] + units[i + 1] for i in range(len(units) - 1)]


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces that end between words where there are spaces."""
    start = 0
    while len(text) - start > _PIECE:
        end = text.rfind(" ", start + 1, start + _PIECE)
        end = start + _PIECE if end < 0 else end
        yield text[start:end]
        start = end
    yield text[start:]


def _class_of(*ranges: tuple[int, int]) -> str:
    """The inside of a character class of a regular expression."""
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


def _marks() -> str:
    """Combining marks: inside a word, but not alphanumeric."""
    points = [p for p in range(sys.maxunicode + 1) if unicodedata.category(chr(p)) in ("Mn", "Mc")]
    starts = [p for before, p in zip([-2, *points], points, strict=False) if p != before + 1]
    ends = [p for p, after in zip(points, [*points[1:], -2], strict=True) if after != p + 1]
    return _class_of(*zip(starts, ends, strict=True))


# Han, kana, Hangul.
_EAST_ASIAN = _class_of(
    (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x3035), (0x3040, 0x30FF), (0x31F0, 0x31FF),
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),
)  # fmt: skip
# Thai and Lao, Burmese, Khmer, Burmese extended.
_SOUTH_EAST_ASIAN = _class_of((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0xAA60, 0xAA7F))
_MARKS = _marks()
_ASCII_WORD = re.compile("[a-z0-9]+")
_WORD = re.compile(f"(?:[^\\W_]|[{_MARKS}])+")
_SCRIPTS = re.compile(f"([^{_EAST_ASIAN}{_SOUTH_EAST_ASIAN}]+)|([{_EAST_ASIAN}]+)|([{_SOUTH_EAST_ASIAN}]+)")
# A vowel that is written before its consonant (Thai, Lao), a base, then its vowels and marks; the marks of Khmer
# and Burmese that put the next consonant below take it along.
_CLUSTER = re.compile(f"[เ-ไເ-ໄ]?[^{_MARKS}](?:[\u17d2\u1039].|[ะาำๅະາຳ{_MARKS}])*|.")
_FOLDED: dict[int, str | None] = {
    **dict.fromkeys((*range(0x300, 0x370), *range(0x591, 0x5C8), *range(0x64B, 0x660), 0x640, 0x670)),
    **{ord(one): other for one, other in zip("ٱىةςıøđðł", "ايهσioddl", strict=True)},
    **{ord("ß"): "ss", ord("æ"): "ae", ord("œ"): "oe", ord("þ"): "th"},
}
