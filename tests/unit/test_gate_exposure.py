"""Exposure: one document that comes up everywhere is seen; coverage and Gini are what their definitions say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from models.gates.exposure import NOTHING, TopLists, gini, judge_exposure, spread_of
from streams.errors import GateError
from tests.gate_evidence import DOCUMENTS, lists_of


def with_document(lists: TopLists, document: int, share: float) -> TopLists:
    """The last hit of the first queries is this document, so many that it gets this share of the lists."""
    upto = int(np.searchsorted(np.cumsum(lists.times), share * lists.times.sum()))
    after = lists.after.copy()
    after[:upto, 9] = document
    return replace(lists, candidate=after)


def test_equal_lists_pass():
    decision = judge_exposure(lists_of())
    assert decision.outcome == "pass"
    assert decision.checks[0].value == 0


def test_a_document_that_comes_up_everywhere_refuses():
    decision = judge_exposure(with_document(lists_of(), DOCUMENTS, 0.15))
    assert decision.outcome == "refuse"
    assert str(DOCUMENTS) in decision.sentence


def test_a_small_rise_passes_and_seven_points_do_not():
    assert judge_exposure(with_document(lists_of(), DOCUMENTS, 0.06)).outcome == "pass"
    lists = np.arange(1_000)[:, None]
    risen = np.where(lists < 70, 0, lists + 1)
    exactly = TopLists(lists + 1, risen, np.ones(1_000))
    assert judge_exposure(exactly, rise=0.0701).outcome == "pass"
    assert judge_exposure(exactly, rise=0.07).outcome == "refuse"


def test_lists_count_as_often_as_they_were_asked():
    before = np.array([[1], [2]])
    after = np.array([[3], [2]])
    seldom, often = TopLists(before, after, [1, 99]), TopLists(before, after, [99, 1])
    assert judge_exposure(seldom).checks[0].value == pytest.approx(0.01)
    assert judge_exposure(often).checks[0].value == pytest.approx(0.99)


def test_the_fast_count_is_the_plain_one():
    lists = with_document(lists_of(), 5, 0.2)
    for found, ranked in zip(lists.shares, (lists.before, lists.after), strict=True):
        plain: Counter[int] = Counter()
        for row, times in zip(ranked.tolist(), lists.times.tolist(), strict=True):
            for document in set(row) - {NOTHING}:
                plain[document] += times
        whole = lists.times.sum()
        by_number = zip(lists.documents.tolist(), found.tolist(), strict=True)
        assert {number: share for number, share in by_number if share} == pytest.approx(
            {document: times / whole for document, times in plain.items()}
        )


def test_a_document_twice_in_a_list_counts_once_and_short_lists_are_filled_up():
    lists = TopLists([[4, 4, NOTHING]], [[NOTHING, NOTHING, NOTHING]], [3])
    assert lists.documents.tolist() == [4]
    assert [shares.tolist() for shares in lists.shares] == [[1], [0]]


def test_documents_may_have_any_numbers():
    decision = judge_exposure(TopLists([[2**62, 7]], [[7, 2**61]], [1]))
    assert decision.outcome == "refuse"
    assert str(2**61) in decision.sentence


@pytest.mark.parametrize("asked", [[], [0, 0]])
def test_no_lists_refuse(asked):
    lists = np.zeros((len(asked), 10), dtype=np.int64)
    assert judge_exposure(TopLists(lists, lists, asked)).outcome == "refuse"


def test_the_gini_coefficient_is_half_the_relative_mean_difference():
    values = np.random.default_rng(0).random(50)
    plain = np.abs(values[:, None] - values[None, :]).mean() / (2 * values.mean())
    assert gini(values) == pytest.approx(plain)
    assert gini(np.ones(10)) == pytest.approx(0)
    assert gini(np.eye(10)[0]) == pytest.approx(0.9)
    assert gini(np.zeros(3)) == 0


def test_the_long_tail_is_what_is_outside_the_incumbents_top_tenth():
    """Of twenty documents two are the head; four of the others are shown before, five after."""
    before = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 1, 5]])
    after = np.array([[0, 1, 2], [0, 6, 3], [0, 1, 4], [0, 1, 7]])
    found = spread_of(TopLists(before, after, np.ones(4)), documents=20)
    assert [each.tail_coverage for each in found] == pytest.approx([4 / 18, 5 / 18])
    assert found[1].gini < found[0].gini


@pytest.mark.parametrize(
    ("before", "field"),
    [([[0.5]], "incumbent"), ([[-2]], "incumbent"), ([0], "incumbent"), ([list(range(11))], "incumbent")],
)
def test_what_is_no_list_of_documents_is_named(before, field):
    with pytest.raises(GateError) as caught:
        TopLists(before, [[0]], [1])
    assert caught.value.field == field


def test_more_documents_shown_than_there_are_is_an_error():
    with pytest.raises(GateError, match="documents"):
        spread_of(lists_of(), documents=10)
