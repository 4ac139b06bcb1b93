from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from state.fusion import FusionWeights, MeasureWeight, RankedList, fuse

WEIGHTS = FusionWeights(
    vector=MeasureWeight(), lexical=MeasureWeight(weight=10.0, power=2.0, missing="nothing")
)


def ranked(path, **scores):
    slots = np.array([int(name[1:]) for name in scores], dtype=np.int64)
    return RankedList(path, slots, np.array(list(scores.values()), dtype=np.float32))


def test_a_document_of_both_measures_has_both_parts():
    fused = fuse([ranked("dense", s1=4.0, s2=3.0), ranked("lexical", s2=0.5)], WEIGHTS, 10)
    assert fused.slots.tolist() == [2, 1]
    assert fused.scores.tolist() == [5.5, 4.0]
    assert fused.parts["dense"].tolist() == [3.0, 4.0]
    assert fused.parts["lexical"].tolist() == [2.5, 0.0]


def test_a_document_that_the_vectors_missed_counts_as_the_last_that_they_found():
    fused = fuse([ranked("dense", s1=4.0, s2=3.0), ranked("lexical", s9=0.5)], WEIGHTS, 10)
    assert dict(zip(fused.slots.tolist(), fused.scores.tolist(), strict=True)) == {1: 4.0, 2: 3.0, 9: 5.5}


def test_scores_beyond_the_trusted_ones_count_a_tenth_of_what_they_lie_below():
    weights = FusionWeights(vector=MeasureWeight(trusted=2))
    fused = fuse([ranked("dense", s1=9.0, s2=8.0, s3=3.0, s4=1.0)], weights, 10)
    assert fused.slots.tolist() == [1, 2, 3, 4]
    assert fused.scores.tolist() == pytest.approx([9.0, 8.0, 7.5, 7.3])


def test_two_paths_that_measure_the_same_count_once_for_the_one_that_found_more():
    fused = fuse([ranked("generative", s1=4.0, s2=3.0), ranked("dense", s1=4.0, s3=3.5)], WEIGHTS, 10)
    assert fused.slots.tolist() == [1, 3, 2]
    assert fused.scores.tolist() == [4.0, 3.5, 3.0]
    assert fused.parts["generative"].tolist() == [4.0, 0.0, 3.0]
    assert fused.parts["dense"].tolist() == [0.0, 3.5, 0.0]


def test_ranks_are_fused_by_their_reciprocals():
    weights = FusionWeights(method="reciprocal_rank")
    fused = fuse([ranked("dense", s1=9.0, s2=1.0), ranked("lexical", s2=0.5)], weights, 10)
    assert fused.slots.tolist() == [2, 1]
    assert fused.scores.tolist() == [1 / 62 + 1 / 61, 1 / 61]


def test_nothing_found_is_nothing_fused():
    fused = fuse([ranked("dense"), ranked("lexical")], WEIGHTS, 10)
    assert fused.slots.tolist() == fused.scores.tolist() == []
    assert fuse([], WEIGHTS, 10).slots.tolist() == []


def test_weights_that_make_no_sense_are_refused():
    with pytest.raises(ValidationError):
        MeasureWeight(weight=-1)
    with pytest.raises(ValidationError):
        FusionWeights.model_validate({"lexical": {"importance": 1}})
    with pytest.raises(ValidationError):
        FusionWeights().method = "reciprocal_rank"  # type: ignore[misc]
