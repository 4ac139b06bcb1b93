"""Long texts become a few passages that hold the whole text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.encoders.passages import MAX_PASSAGES, split_passages


def test_a_text_that_fits_is_left_as_it_is() -> None:
    assert split_passages("  two words ", window=12) == ["  two words "]


def test_sentences_stay_whole_where_they_fit() -> None:
    text = "First sentence here. Second sentence there! Third one? The fourth."
    assert split_passages(text, window=45) == [
        "First sentence here. Second sentence there!",
        "Third one? The fourth.",
    ]


@pytest.mark.parametrize("text", ["これは文です。" * 30, "无" * 400, "a" * 500])
def test_texts_without_blanks_are_split_too(text: str) -> None:
    passages = split_passages(text, window=100)
    assert 2 <= len(passages) <= MAX_PASSAGES
    assert "".join(passages).replace(" ", "") == text


@given(st.text(min_size=0, max_size=2_000), st.integers(1, 200))
def test_nothing_but_blanks_is_lost_and_there_are_never_more_than_eight(text: str, window: int) -> None:
    passages = split_passages(text, window=window)
    assert 1 <= len(passages) <= MAX_PASSAGES
    assert "".join("".join(passages).split()) == "".join(text.split())
    if text.strip():
        assert all(passage.strip() for passage in passages)
