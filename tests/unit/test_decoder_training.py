"""Distillation learns, repeats itself, and survives being killed.

The vectors are real: names of emoji by the default encoder. English names are the documents. The queries are the
names in three languages, turned by a fixed rotation, so that they lie elsewhere than the documents do, as texts do
beside pictures. Whole names are held out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.codebooks import fit_codebook
from models.decoder.levels import rows_of
from models.decoder.losses import LossWeights
from models.decoder.pairs import Pairs, Sample, exact_neighbours, make_pairs
from models.decoder.scores import path_log_probabilities
from models.decoder.training import DistillationOptions, Distilled, Progress, distil
from models.encoders.base import TextPart, unit_rows
from models.encoders.lite import LiteEncoder
from streams.errors import ModelError
from trieflow.demo_pictures import all_pictures

TOP, OPENED = 10, 4
SMALL = DistillationOptions(
    epochs=2, width=16, hidden=32, loss=LossWeights(own=0.2, contrastive=0.2, alignment=0.1)
)


@dataclass(frozen=True)
class Names:
    sample: Sample
    queries: NDArray[np.float32]  # held out
    best: NDArray[np.int64]  # exact answers of each, (n, 10)


@pytest.fixture(scope="module")
def names() -> Names:
    encoder = LiteEncoder.load()
    pictures = list(all_pictures().values())
    english, german, french = (
        encoder.encode([TextPart(picture.names[language]) for picture in pictures], side="query").vectors[
            :, :512
        ]
        for language in ("en", "de", "fr")
    )
    random = np.random.default_rng(0)
    turn = np.linalg.qr(random.standard_normal((512, 512)))[0].astype(np.float32)
    spoken = np.concatenate([english, german, french])
    queries = unit_rows(0.55 * spoken + 0.85 * spoken @ turn)
    own = np.tile(np.arange(len(pictures)), 3)
    held_out = np.isin(own, random.permutation(len(pictures))[: len(pictures) // 5])
    tree = fit_codebook(english, epoch=1, stamp="test", leaves=52, seed=0)
    paths = tree.nearest(english, 1)[0]
    sample = Sample(english, paths, tree.leaves, tree.centroids, queries[~held_out], own[~held_out])
    best = np.argsort(-(queries[held_out] @ english.T), axis=1, kind="stable")[:, :TOP]
    return Names(sample, queries[held_out], best)


@pytest.fixture(scope="module")
def distilled(names: Names) -> Distilled:
    return distil(names.sample, epoch=1, stamp="test", options=DistillationOptions(seed=0))


def _few(sample: Sample, count: int = 600) -> Sample:
    return replace(sample, queries=sample.queries[:count], own=sample.own[:count])


def _pairs(sample: Sample, *, top: int, negatives: int) -> Pairs:
    return make_pairs(sample, exact_neighbours(sample, k=top + negatives), top=top, teacher_temperature=1.0)


def _recall(names: Names, scores: NDArray[np.float32]) -> float:
    """The share of exact answers in the best leaves."""
    opened = names.sample.leaves[np.argsort(-scores, axis=1)[:, :OPENED]]
    there = names.sample.paths[names.best][:, :, :, None] == opened[:, None, None, :]
    return float(there.any(axis=(2, 3)).mean())


def test_the_learned_part_finds_more_in_as_many_leaves_on_names_never_seen(
    names: Names, distilled: Distilled
):
    decoder, sample = distilled.decoder, names.sample
    geometry = names.queries @ sample.centroids.T
    learned = path_log_probabilities(
        names.queries,
        decoder.heads(names.queries),
        decoder.nodes,
        leaves=sample.leaves,
        centroids=sample.centroids,
        sharpness=decoder.description.sharpness,
    )[-1]
    assert _recall(names, geometry + decoder.weight() * learned) > _recall(names, geometry) + 0.01


def test_the_weight_was_chosen_to_gain_on_held_out_queries(distilled: Distilled):
    tuned = distilled.tuned
    assert tuned.weight > 0
    assert tuned.recall > tuned.recall_of_geometry
    assert distilled.decoder.weight() == tuned.weight


def test_held_out_loss_falls_from_where_geometry_begins(distilled: Distilled):
    assert min(distilled.held_out_losses) < 0.9 * distilled.held_out_losses[0]


def test_training_repeats_itself_for_a_seed_and_differs_for_another(names: Names):
    first, again, other = (
        distil(_few(names.sample), epoch=1, stamp="test", options=replace(SMALL, seed=seed))
        for seed in (1, 1, 2)
    )
    assert first.decoder.to_files() == again.decoder.to_files()
    assert first.decoder.to_files() != other.decoder.to_files()


class _KilledError(Exception):
    pass


def test_a_killed_run_goes_on_after_its_last_epoch_and_ends_as_if_it_had_not_been(
    names: Names, tmp_path: Path
):
    sample, checkpoint = _few(names.sample), tmp_path / "run.safetensors"
    options = replace(SMALL, epochs=4, patience=4)
    whole = distil(sample, epoch=1, stamp="test", options=options)

    def kill(progress: Progress) -> None:
        if progress.step == progress.steps * 5 // 8:
            raise _KilledError

    with pytest.raises(_KilledError):
        distil(sample, epoch=1, stamp="test", options=options, checkpoint=checkpoint, on_progress=kill)
    steps: list[int] = []
    resumed = distil(
        sample, epoch=1, stamp="test", options=options, checkpoint=checkpoint,
        on_progress=lambda progress: steps.append(progress.step),
    )  # fmt: skip
    assert steps[0] == steps[-1] // 2 + 1
    assert resumed.decoder.to_files() == whole.decoder.to_files()
    assert resumed.held_out_losses == whole.held_out_losses


@pytest.mark.parametrize("damage", ["other options", "half a file"])
def test_a_checkpoint_that_does_not_fit_is_not_taken_up(names: Names, tmp_path: Path, damage: str):
    sample, checkpoint = _few(names.sample), tmp_path / "run.safetensors"
    distil(sample, epoch=1, stamp="test", options=replace(SMALL, seed=5), checkpoint=checkpoint)
    if damage == "half a file":
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    steps: list[int] = []
    distil(
        sample, epoch=1, stamp="test", options=SMALL, checkpoint=checkpoint,
        on_progress=lambda progress: steps.append(progress.step),
    )  # fmt: skip
    assert steps[0] == 1


def test_training_stops_when_held_out_queries_gain_no_more(names: Names):
    options = replace(SMALL, epochs=50, patience=1, learning_rate=0.03)
    losses = distil(_few(names.sample), epoch=1, stamp="test", options=options).held_out_losses
    assert len(losses) < 51
    assert losses[-1] >= min(losses)


@pytest.mark.parametrize("term", ["generation", "own", "contrastive", "alignment"])
def test_each_term_of_the_loss_can_be_used_alone(names: Names, term: str):
    alone = replace(LossWeights(generation=0.0), **{term: 1.0})
    options = replace(SMALL, loss=alone, epochs=3, patience=3, batch=64)
    losses: list[float] = []
    distil(
        names.sample, epoch=1, stamp="test", options=options,
        on_progress=lambda progress: losses.append(progress.loss),
    )  # fmt: skip
    epoch = len(losses) // 3
    assert np.mean(losses[-epoch:]) < 0.95 * np.mean(losses[:epoch])


def test_targets_are_the_leaves_of_the_exact_answers(names: Names):
    sample = _few(names.sample, 40)
    pairs = _pairs(sample, top=TOP, negatives=20)
    for row in range(40):
        scores = sample.documents @ sample.queries[row]
        order = np.argsort(-scores, kind="stable")
        answers = sample.paths[order[:TOP], 0]
        assert sample.leaves[pairs.answers[row, :, 0]].tolist() == answers.tolist()
        shares = np.exp((scores[order[:TOP]] - scores[order[0]]) / scores[order[:TOP]].std())
        expected = {int(leaf): shares[answers == leaf].sum() / shares.sum() for leaf in set(answers.tolist())}
        found = {
            int(sample.leaves[leaf]): weight
            for leaf, weight in zip(pairs.targets[row], pairs.weights[row], strict=True)
            if leaf >= 0
        }
        assert found == pytest.approx(expected, abs=1e-4)
        others = [leaf for leaf in pairs.negatives[row].tolist() if leaf >= 0]
        next_ones = set(sample.paths[order[TOP : TOP + 20], 0].tolist()) - set(answers.tolist())
        assert sorted(sample.leaves[others].tolist()) == sorted(next_ones)
        assert sample.leaves[pairs.own[row, 0]] == sample.paths[sample.own[row], 0]


def test_a_document_that_asks_does_not_answer_itself(names: Names):
    documents = names.sample.documents[:300]
    sample = Sample(
        documents, names.sample.paths[:300], names.sample.leaves, names.sample.centroids,
        queries=documents[:50], own=np.arange(50), queries_are_documents=True,
    )  # fmt: skip
    pairs = _pairs(sample, top=3, negatives=5)
    scores = documents[:50] @ documents.T
    scores[np.arange(50), np.arange(50)] = -np.inf
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    expected = rows_of(names.sample.paths[:300], names.sample.leaves)[nearest, 0]
    assert np.array_equal(pairs.answers[:, :, 0], expected)


def test_a_query_without_a_document_of_its_own_has_no_path_of_its_own(names: Names):
    sample = replace(_few(names.sample, 30), own=np.full(30, -1))
    pairs = _pairs(sample, top=TOP, negatives=20)
    assert (pairs.own == -1).all()
    best = np.argmax(sample.queries @ sample.documents.T, axis=1)
    assert np.array_equal(pairs.documents, sample.documents[best])


def test_a_document_in_two_leaves_shares_its_weight_between_them():
    random = np.random.default_rng(0)
    documents = unit_rows(random.standard_normal((40, 8)).astype(np.float32))
    leaves = np.array([1, 2, 3, 4])
    paths = np.stack([leaves[random.integers(4, size=40)], np.full(40, -1)], axis=1)
    best = int(np.argmax(documents[0] @ documents[1:].T)) + 1
    paths[best] = [2, 4]
    centroids = documents[:4]
    sample = Sample(
        documents,
        paths,
        leaves,
        centroids,
        queries=documents[:1],
        own=np.array([0]),
        queries_are_documents=True,
    )
    pairs = _pairs(sample, top=1, negatives=3)
    assert dict(zip(pairs.targets[0].tolist(), pairs.weights[0].tolist())) == {1: 0.5, 3: 0.5}


def test_arrays_that_do_not_fit_together_are_named(names: Names):
    with pytest.raises(ModelError, match=r"own is \(3,\), not"):
        replace(names.sample, own=np.zeros(3, np.int64))
    with pytest.raises(ModelError, match="need more than 20 documents"):
        exact_neighbours(
            replace(names.sample, documents=names.sample.documents[:20], paths=names.sample.paths[:20]), k=40
        )
    with pytest.raises(ModelError, match="too few to hold out"):
        distil(_few(names.sample, 2), epoch=1, stamp="test", options=SMALL)
