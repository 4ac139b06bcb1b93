from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from agents.model_log import FOLDER, FUSION_FILE, ModelLog, fusion_weights
from models.adapter.adapter import QueryAdapter
from models.bundles import Bundle, BundleStore, Manifest
from models.encoders.registry import describe_encoder
from models.ranking.ranker import Ranker
from models.ranking.weights import FILE as RANKING_FILE
from models.ranking.weights import Freshness, Ranking
from state.fusion import FusionWeights, MeasureWeight
from streams.errors import ModelError
from streams.events.models import ADAPTER_MODEL, AdapterRollout
from streams.records import Record
from streams.settings import Settings


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


def rolled_out(settings: Settings, ranking: bytes | None) -> str:
    """A bundle of the trainer in the content store, by its version."""
    described = describe_encoder("hash")
    shapes = ((1, described.dimension), (1,), (described.dimension, 1))
    files = Ranker(QueryAdapter(*(np.zeros(shape, dtype=np.float32) for shape in shapes))).to_files()
    version = "plain" if ranking is None else f"v{len(ranking)}"
    manifest = Manifest(name=ADAPTER_MODEL, version=version, encoder_stamp=described.stamp)
    written = files if ranking is None else {**files, RANKING_FILE: ranking}
    BundleStore(f"{settings.content_store}/{FOLDER}").write(Bundle.of(manifest, written))
    return version


def test_weights_of_fine_ranking_serve_and_a_bundle_whose_weights_cannot_be_used_does_not(
    tmp_path: Path,
) -> None:
    settings = Settings(data=tmp_path, encoder="hash")
    models = ModelLog(settings, stamp=describe_encoder("hash").stamp)
    ranking = Ranking(freshness=Freshness(weight=0.5, half_life_d=30))
    good = ranking.to_files()[RANKING_FILE]
    served = []
    for content in (None, good, b'{"freshness": {"weight": -1}}'):
        rollout = AdapterRollout(active=rolled_out(settings, content), since=datetime.now(UTC))
        models.take(Record("models", 0, len(served), ADAPTER_MODEL.encode(), rollout.to_json()))
        with capture_logs() as logs:
            models.at_end()
        assert models.arms.active is not None
        served.append((models.arms.active.ranker.ranking, [each["log_level"] for each in logs]))
    assert served == [(Ranking(), ["info"]), (ranking, ["info"]), (ranking, ["error"])], "it goes on serving"
