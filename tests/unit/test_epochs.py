"""Which epochs are kept, where a roll-back leads, when a tree is due."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.codebook_log import Codebooks
from agents.epochs import Corpus, fit_reason, live_epochs, why_not_back
from streams.events.codebooks import RollBack
from streams.settings import IndexSettings

INDEX = IndexSettings(ids_from=100, exact_up_to=1_000)
CORPUS = Corpus(count=1_500, fitted_on=1_000, churn=500, recall_fell=False)


@pytest.mark.parametrize(
    ("fitted", "active", "live"),
    [
        ([], 0, (0,)),
        ([1], 0, (0, 1)),
        ([1], 1, (0, 1)),
        ([1, 2], 1, (0, 1, 2)),
        ([1, 2, 3], 2, (1, 2, 3)),
        ([4, 5], 5, (4, 5)),
        ([4, 5], 4, (4, 5)),
        ([4], 4, (4,)),
        ([4, 6], 4, (4, 6)),
    ],
)
def test_documents_have_ids_in_the_active_epoch_the_one_before_it_and_newer_ones(
    fitted: list[int], active: int, live: tuple[int, ...]
) -> None:
    assert live_epochs(fitted, active) == live
    assert Codebooks(dict.fromkeys(fitted), active=active).live_epochs() == live


def test_an_epoch_is_over_when_it_was_known_and_is_not_kept_any_more() -> None:
    known = Codebooks(dict.fromkeys([4, 6]), active=6, highest=7)
    assert [epoch for epoch in range(9) if known.is_over(epoch)] == [0, 1, 2, 3, 5, 7]


@pytest.mark.parametrize(
    ("fitted", "active", "why"),
    [
        ([], 0, "nothing to go back to"),
        ([1], 1, "nothing to go back to"),
        ([4], 4, "nothing to go back to"),
        ([1], 0, "epoch 1 is being built"),
        ([1, 2, 3], 2, "epoch 3 is being built"),
    ],
)
def test_there_is_no_way_back_without_a_tree_before_or_while_one_is_built(
    fitted: list[int], active: int, why: str
) -> None:
    assert why in (why_not_back(None, fitted=fitted, active=active) or "")


def test_a_request_counts_only_for_the_epochs_that_it_names() -> None:
    assert why_not_back(RollBack(from_epoch=5, to_epoch=3), fitted=[3, 5], active=5) is None
    for stale in (RollBack(from_epoch=3, to_epoch=2), RollBack(from_epoch=5, to_epoch=4)):
        assert why_not_back(stale, fitted=[3, 5], active=5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"fitted_on": None, "count": 99}, None),
        ({"fitted_on": None, "count": 100}, "first"),
        ({"fitted_on": 100, "count": 999, "churn": 900}, None),
        ({"fitted_on": 100, "count": 1_000}, "growth"),
        ({"count": 3_999}, None),
        ({"count": 4_000}, "growth"),
        ({"churn": 2_999}, None),
        ({"churn": 3_000}, "churn"),
        ({"recall_fell": True}, "recall"),
        ({"recall_fell": True, "churn": 100}, None),
    ],
)
def test_a_tree_is_fitted_when_the_corpus_is_not_what_it_was(
    changes: dict[str, int | bool | None], reason: str | None
) -> None:
    assert fit_reason(replace(CORPUS, **changes), INDEX) == reason
