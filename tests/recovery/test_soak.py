"""A short soak: changes, queries, a kill of every worker and a refit; then every replica says what the log says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.soak import Plan, default_settings, run
from benchmarks.soaking.stream import Material
from models.encoders.registry import describe_encoder

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(600)]

DOCUMENTS = 1_500
ENCODER = "hash:64"


def test_after_kills_of_every_role_and_a_refit_all_replicas_agree_with_the_log() -> None:
    settings = default_settings(DOCUMENTS, encoder=ENCODER) | {
        "index__ids_from": "1000",
        "index__exact_up_to": "1000",
        "index__refit_at": "1.3",
    }
    plan = Plan(DOCUMENTS, minutes=1.0, changes_s=40.0, queries_s=4.0, kill_every_s=12.0, settings=settings)
    figures = run(plan, _clusters(4_000), progress=print)
    print(json.dumps(figures, indent=1))
    assert figures["agrees"]
    assert figures["all_answered"]
    assert figures["kills"]["by_role"].keys() == {"indexer", "searcher", "curator"}
    assert figures["log"]["epoch"] >= 2
    assert figures["log"]["moves_done"] > 0
    assert figures["log"]["deleted"] > 0
    assert figures["queries"]["answered"] == figures["queries"]["asked"] > 0


def _clusters(count: int) -> Material:
    """Vectors around centres, half of which are born late, so that leaves have to be split."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((24, 64))
    near = np.where(
        np.arange(count) < count // 4, random.integers(12, size=count), random.integers(24, size=count)
    )
    vectors = centres[near] + 0.4 * random.standard_normal((count, 64))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    words = ["amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "heath"]
    sentences = [" ".join(random.choice(words, 3)) for _ in range(count)]
    return Material(vectors, sentences, describe_encoder(ENCODER).stamp)
