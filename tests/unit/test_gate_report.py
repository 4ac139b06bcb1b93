"""The report: metrics as the gates compute them, one page without anything from outside, readable without plots."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import numpy as np
import orjson
import pytest

from models.gates.guard import judge_guard
from models.gates.metrics import click_metrics, guard_metrics
from models.gates.plots import draw
from models.gates.report import make_report, to_html, to_json, write_report
from models.gates.verdict import judge
from tests.gate_evidence import DOCUMENTS, better, clicks_on, evidence, guard_of, guard_ranks


@pytest.fixture(scope="module")
def report():
    found = evidence()
    return make_report("adapter@<2>", "base@1", found, judge(found), documents=DOCUMENTS)


def test_the_librarys_figures_are_those_that_the_gate_judges_by():
    before = guard_ranks()
    after = np.maximum(1, before + np.random.default_rng(3).integers(-3, 4, len(before)))
    ndcg, recall, precision, rank, average = guard_metrics(guard_of(before, after))
    checks = judge_guard(guard_of(before, after)).checks
    assert ndcg.after / ndcg.before - 1 == pytest.approx(checks[0].value, abs=1e-6)
    assert rank.after / rank.before - 1 == pytest.approx(checks[1].value, abs=1e-6)
    assert recall.before == pytest.approx(np.mean(before <= 10))
    assert precision.before == pytest.approx(recall.before / 10)
    assert average.before == pytest.approx(rank.before)


def test_the_test_is_scipys_paired_t():
    from scipy.stats import ttest_rel

    before, after = guard_ranks(seed=1), guard_ranks(seed=2)
    recall = guard_metrics(guard_of(before, after))[1]
    assert recall.p == pytest.approx(ttest_rel(1.0 * (after <= 10), 1.0 * (before <= 10)).pvalue)
    assert {metric.p for metric in guard_metrics(guard_of(before, before))} == {1.0}


def test_clicks_are_measured_by_list_and_averaged_by_session():
    clicks = clicks_on(sessions=400)
    with_click = np.unique(clicks.sessions[clicks.clicks == 1])
    metrics = {metric.name: metric for metric in click_metrics(better(clicks))}
    assert metrics["RR@100"].units == len(with_click)
    best = [clicks.before[(clicks.sessions == each) & (clicks.clicks == 1)].min() for each in with_click]
    assert metrics["RR@100"].before == pytest.approx(np.mean(1 / np.array(best)))
    assert metrics["RR@100"].after == pytest.approx(1)
    together = replace(clicks, session=np.zeros(4_000))
    assert click_metrics(together)[0].units == 1


def test_a_document_that_is_not_found_is_not_ranked():
    ranks = np.array([1.0, np.inf])
    assert guard_metrics(guard_of(ranks, ranks))[3].before == 0.5


def test_without_clicks_there_is_nothing_to_measure():
    assert click_metrics(clicks_on(sessions=0)) == []


def test_the_page_holds_all_and_asks_for_nothing(report):
    page = to_html(report)
    assert "adapter@&lt;2&gt;" in page
    assert report.judgement.sentence in page
    assert all(decision.sentence in page for decision in report.judgement.decisions)
    assert page.count("data:image/png;base64,") == 5
    assert not re.search(r"https?:|<script|<link|url\(", page)
    assert "default-src 'none'" in page


def test_pictures_are_pictures_and_the_same_each_time(report):
    plots = draw(report.evidence, report.judgement)
    assert all(plot.png.startswith(b"\x89PNG") for plot in plots)
    assert draw(report.evidence, report.judgement) == plots


def test_without_matplotlib_there_are_tables_and_word_of_how_to_get_plots(report, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = to_html(report)
    assert "data:image" not in page
    assert "trieflow[train]" in page
    assert "nDCG@10" in page


def test_the_json_has_every_figure(report):
    found = orjson.loads(to_json(report))
    assert found["verdict"] == "accept"
    assert set(found["gates"]) == {"guard", "clicks", "exposure"}
    assert [row["name"] for row in found["metrics"]["guard"]] == [
        "nDCG@10",
        "R@10",
        "P@10",
        "RR@100",
        "AP@100",
    ]
    assert found["exposure"]["before"] == found["exposure"]["after"]
    assert found["gates"]["clicks"]["checks"][0]["holds"]


def test_the_page_is_written_whole(report, tmp_path):
    path = tmp_path / "report.html"
    write_report(report, path)
    assert path.read_text() == to_html(report)
    assert list(tmp_path.iterdir()) == [path]


def test_a_refused_candidate_is_reported_too():
    found = replace(evidence(), guard=guard_of(guard_ranks(10), guard_ranks(10)), clicks=clicks_on(10))
    page = to_html(make_report("a@1", "b@1", found, judge(found), documents=DOCUMENTS))
    assert "Refused by guard" in page
    assert page.count("data:image/png;base64,") == 2
