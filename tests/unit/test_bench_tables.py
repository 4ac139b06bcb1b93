"""Tables, results on disk, timing and recall of the benchmarks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.recall import cheapest_at, reached_within, recall_of
from benchmarks.tables import figure, keep, kept, markdown
from benchmarks.timing import Timing, in_turns, timed_calls

POINTS = [
    {"recall": 0.90, "p50_ms": 0.3},
    {"recall": 0.96, "p50_ms": 0.8},
    {"recall": 0.99, "p50_ms": 1.4},
]


def test_a_table_has_a_head_a_rule_and_a_line_for_each_row():
    assert markdown(["engine", "ms"], [["one", 0.12345], ["two", None]]) == (
        "| engine | ms |\n|---|---|\n| one | 0.123 |\n| two | – |"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.98765, "0.988"),
        (12.345, "12.3"),
        (1234.5, "1,234"),
        (1234567, "1,234,567"),
        (None, "–"),
        ("a", "a"),
        (7, "7"),
    ],
)
def test_a_number_has_the_digits_worth_reading(value, shown):
    assert figure(value) == shown


def test_keeping_one_part_leaves_the_others(tmp_path):
    keep("index", "first", {"a": 1}, folder=tmp_path)
    keep("index", "second", {"b": 2}, folder=tmp_path)
    path = keep("index", "first", {"a": 3}, folder=tmp_path)
    whole = json.loads(path.read_text())
    assert {part: each["figures"] for part, each in whole.items()} == {"first": {"a": 3}, "second": {"b": 2}}
    assert kept("index", "second", folder=tmp_path) == {"b": 2}
    assert kept("index", "third", folder=tmp_path) is None
    assert kept("other", "first", folder=tmp_path) is None
    assert whole["first"]["machine"]["cores"] >= 1
    assert list(tmp_path.iterdir()) == [path]


def test_candidates_take_turns_within_each_round():
    calls: list[str] = []
    candidates = {name: lambda number, name=name: calls.append(name) for name in ("a", "b")}
    timings = in_turns(candidates, rounds=2, seconds=0.0)
    turns = [calls[start] for start in range(0, len(calls), 3)]
    assert turns == ["a", "b", "a", "b", "a", "b"]  # the first turn of each warms up
    assert all(timing.calls == 6 for timing in timings.values())


def test_a_timing_gives_quantiles_of_all_calls_and_the_spread_of_rounds():
    summary = Timing([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]]).summary(unit_s=0.5, per_call=2)
    assert summary["p50"] == 4.0
    assert (summary["lowest_round"], summary["highest_round"]) == (2.0, 6.0)
    assert summary["calls"] == 6


def test_timed_calls_end_at_the_most():
    assert len(timed_calls(lambda number: None, seconds=60.0, most=5)) == 5


def test_recall_is_the_share_of_the_exact_rows():
    exact = np.array([[1, 2], [3, 4], [5, 6]])
    assert recall_of([[2, 9], [4, 3]], exact) == 0.75  # the third query was not asked


def test_operating_points_are_read_by_time_and_by_recall():
    assert reached_within(POINTS, 1.0) == 0.96
    assert reached_within(POINTS, 0.1) is None
    assert cheapest_at(POINTS, 0.95) == 0.8
    assert cheapest_at(POINTS, 0.999) is None
