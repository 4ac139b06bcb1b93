"""Which language a text is in, and the stems of its words.

Detection: py3langid, restricted to the languages that are stemmed and to those that could be taken for one of
them. Stems: Snowball's algorithms as they are built into tantivy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import tantivy
from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier
from py3langid.modelio import load_model

_STEMMERS: Mapping[str, str] = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nb": "norwegian",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
}
_DETECTED = {*_STEMMERS, "ja", "ko", "pl", "th", "zh"}
_ENOUGH = 300
"""Characters that detection reads: more do not change the answer."""
_LIKELY = 0.22
_MOST_LIKELY = 6
"""Languages at least so probable, in relation to the best, and at most so many."""


def language_of(text: str, *, given: str | None = None) -> str:
    """The language code without region: of `given` (BCP 47) where there is one, else detected."""
    if given:
        return given.replace("_", "-").split("-")[0].lower()
    return str(_identifier().classify(text[:_ENOUGH])[0])


def likely_languages(text: str, *, given: str | None = None) -> list[str]:
    """As `language_of`, but of a text too short to tell all languages that it may well be in, best first."""
    if given:
        return [language_of(text, given=given)]
    ranked = _identifier().rank(text[:_ENOUGH])
    least = ranked[0][1] * _LIKELY
    return [str(label) for label, probability in ranked[:_MOST_LIKELY] if probability >= least]


def stems(words: Sequence[str], language: str) -> list[str]:
    """The stem of each lower-case word; the word itself in languages that have no stemmer here."""
    stemmer = _stemmer(language)
    return list(words) if stemmer is None or not words else list(stemmer.analyze(" ".join(words)))


@cache
def _identifier() -> LanguageIdentifier:
    # Not `set_languages`: it would keep the columns of all other languages, 28 MB.
    weights, priors, labels, moves, rows, outputs = load_model(MODEL_DIR / MODEL_FILE)
    kept = [column for column, label in enumerate(labels) if label in _DETECTED]
    return LanguageIdentifier(
        np.ascontiguousarray(weights[:, kept]),
        priors[kept],
        [labels[column] for column in kept],
        moves,
        outputs,
        norm_probs=True,
        tk_row=rows,
    )


@cache
def _stemmer(language: str) -> tantivy.TextAnalyzer | None:
    name = _STEMMERS.get(language)
    if name is None:
        return None
    words = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace())
    return words.filter(tantivy.Filter.stemmer(name)).build()
