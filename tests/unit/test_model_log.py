from __future__ import annotations

import pytest

from agents.model_log import FUSION_FILE, fusion_weights
from models.bundles import Bundle, Manifest
from state.fusion import FusionWeights, MeasureWeight
from streams.errors import ModelError


def bundle(**files: str) -> Bundle:
    manifest = Manifest(name="query", version="1", encoder_stamp="s")
    return Bundle.of(manifest, {f"{name}.json": text.encode() for name, text in files.items()})


def test_a_bundle_carries_all_weights_of_the_paths() -> None:
    assert FUSION_FILE == "fusion.json"
    weights = FusionWeights(method="reciprocal_rank", vector=MeasureWeight(weight=0.5, trusted=3))
    assert fusion_weights(bundle(fusion=weights.model_dump_json())) == weights


def test_without_weights_in_a_bundle_the_defaults_count() -> None:
    assert fusion_weights(None) == fusion_weights(bundle(other="{}")) == FusionWeights()


@pytest.mark.parametrize("text", ["{", '{"method": "best"}', '{"lexical": {"weight": -1}}', '{"extra": 1}'])
def test_weights_that_cannot_be_used_are_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"fusion\.json"):
        fusion_weights(bundle(fusion=text))
