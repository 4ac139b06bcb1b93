"""What a person chose before never outweighs the query, and nothing chosen leaves it as it was."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from state.personal import attention, personal_part, scales

DIMENSION = 6
numbers = st.floats(-4, 4, width=32)
queries = arrays(np.float32, DIMENSION, elements=numbers).filter(lambda row: np.linalg.norm(row) > 1e-2)
weights = st.floats(0, 0.9)


@st.composite
def histories(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Documents (n, d), some of them zeros, and how well they fit (n,)."""
    count = draw(st.integers(0, 12))
    documents = draw(arrays(np.float32, (count, DIMENSION), elements=numbers))
    fits = draw(arrays(np.float32, count, elements=st.floats(-50, 50, width=32)))
    return documents, fits


@given(queries, histories(), weights)
def test_the_query_turns_by_no_more_than_the_weight_allows(query, history, weight) -> None:
    documents, fits = history
    part = personal_part(query, documents, attention(fits), weight=weight)
    assert np.linalg.norm(part) <= weight * np.linalg.norm(query) * (1 + 1e-4)
    moved = query + part
    cosine = moved @ query / (np.linalg.norm(moved) * np.linalg.norm(query))
    assert cosine >= np.sqrt(1 - weight**2) - 1e-4


@given(queries, weights)
def test_no_history_leaves_the_very_same_vector(query, weight) -> None:
    nothing = np.empty((0, DIMENSION), dtype=np.float32)
    moved = query + personal_part(query, nothing, attention(np.empty(0, dtype=np.float32)), weight=weight)
    assert moved.dtype == np.float32
    assert np.array_equal(moved, query)


@given(histories(), st.randoms(use_true_random=False))
def test_what_fits_better_counts_more_and_all_of_it_less_than_one(history, random) -> None:
    _, fits = history
    counts = attention(fits)
    assert counts.sum() <= 1 + 1e-5
    order = np.argsort(fits, kind="stable")
    assert (np.diff(counts[order]) >= -1e-7).all()
    places = random.sample(range(len(fits)), len(fits))
    assert np.allclose(attention(fits[places]), counts[places], atol=1e-7)


def test_what_has_nothing_to_do_with_the_query_counts_nearly_nothing() -> None:
    assert attention(np.full(20, -3.0, dtype=np.float32)).sum() < 0.1
    assert attention(np.array([3.0], dtype=np.float32))[0] == np.float32(0.5)


@given(queries, histories())
def test_documents_are_made_as_long_as_the_query(query, history) -> None:
    documents, _ = history
    lengths = np.linalg.norm(scales(query, documents)[:, None] * documents, axis=1)
    wanted = np.where(np.linalg.norm(documents, axis=1) > 0, np.linalg.norm(query), 0)
    assert np.allclose(lengths, wanted, rtol=1e-3)
