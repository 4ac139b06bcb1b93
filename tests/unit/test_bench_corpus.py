"""The real corpus of the benchmarks, on a handful of texts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.corpus import embed, exact_neighbours
from benchmarks.corpus_sentences import Source, _python_texts, _values_of, distinct_sentences, sentences


def test_sentences_come_without_markup_and_in_one_line() -> None:
    text = (
        "<p>Deletes the <code>queue</code> that\n was named in this request. See also &amp; more.</p> Short."
    )
    assert list(sentences(text)) == ["Deletes the queue that was named in this request."]


def test_a_sentence_of_more_than_500_characters_is_left_out() -> None:
    assert list(sentences("word " * 99 + "last.")) != []
    assert list(sentences("word " * 101)) == []


def test_a_sentence_stays_with_the_first_topic_that_has_it() -> None:
    repeated = "The name of the stream that this call changes."
    first = Source("one", lambda: iter([repeated]))
    second = Source(
        "two", lambda: iter([repeated.upper(), "Each record of the batch carries its own key there."])
    )
    assert list(distinct_sentences([first, second])) == [
        ("one", repeated),
        ("two", "Each record of the batch carries its own key there."),
    ]


def test_documentation_is_found_at_any_depth() -> None:
    tree = json.loads('{"documentation": "a", "shapes": [{"members": {"x": {"documentation": "b"}}}, 3]}')
    assert list(_values_of("documentation", tree)) == ["a", "b"]


def test_docstrings_are_read_by_paragraph_whatever_the_syntax(tmp_path: Path) -> None:
    source = tmp_path / "newer.py"
    source.write_text("def f[T](x: T):\n    \"\"\"First.\n\n    Second.\"\"\"\n    return '''third'''\n")
    assert [text.strip() for text in _python_texts(source)] == ["First.", "Second.", "third"]


def test_a_text_is_the_mean_of_its_token_vectors_at_unit_length() -> None:
    table = np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32)
    texts = ["1 2 3", "4", "3 2 1", "", "7 7 9"]
    vectors, kept = embed(
        texts, token_ids=lambda batch: [[int(token) for token in text.split()] for text in batch], table=table
    )
    assert kept.tolist() == [0, 1, 4]  # the third has the tokens of the first; the fourth has none
    expected = [table[[1, 2, 3]].mean(0), table[4], (2 * table[7] + table[9]) / 3]
    np.testing.assert_allclose(vectors, [row / np.linalg.norm(row) for row in expected], rtol=1e-5)


def test_exact_neighbours_are_those_of_a_full_sort() -> None:
    random = np.random.default_rng(2)
    vectors = random.standard_normal((300, 16)).astype(np.float32)
    queries = random.standard_normal((20, 16)).astype(np.float32)
    naive = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :7]
    assert np.array_equal(exact_neighbours(vectors, queries, count=7), naive)
