"""The adapter: what it does to queries, what it learns, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.adapter.adapter import FILE, QueryAdapter
from models.adapter.data import Documents, Lesson, Pairs, nearest_rows
from streams.errors import ModelError

torch = pytest.importorskip("torch")

from models.adapter.leaves import fit_leaves  # noqa: E402
from models.adapter.losses import LossWeights  # noqa: E402
from models.adapter.training import AdapterNetwork, AdapterOptions, Progress, Trained, train_adapter  # noqa: E402

DIMENSION, DOCUMENTS = 32, 200
QUICK = AdapterOptions(
    hidden=128, fewest_steps=90, most_steps=90, batch=64, replay_batch=64, learning_rate=1e-2
)


def _random_adapter(seed: int, *, hidden: int = 8, dimension: int = 6) -> QueryAdapter:
    chance = np.random.default_rng(seed)
    shapes = ((hidden, dimension), (hidden,), (dimension, hidden))
    return QueryAdapter(*(chance.standard_normal(shape).astype(np.float32) for shape in shapes))


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def _lesson(seed: int = 0) -> Lesson:
    """Half of the documents are asked for by queries of another direction, which clicks tell."""
    chance = np.random.default_rng(seed)
    vectors = _unit(chance.standard_normal((DOCUMENTS, DIMENSION)))
    same = np.ones(DOCUMENTS, dtype=np.float32)
    documents = Documents(vectors, 0 * same, 0.1 * same, np.arange(DOCUMENTS))
    taught, known = np.arange(DOCUMENTS // 2), np.arange(DOCUMENTS // 2, DOCUMENTS)
    slang = _unit(chance.standard_normal((len(taught), DIMENSION)))

    def pairs(about: np.ndarray, around: np.ndarray, each: int) -> Pairs:
        rows = np.tile(np.arange(len(about)), each)
        queries = _unit(around[rows] + 0.1 * chance.standard_normal((len(rows), DIMENSION)))
        return Pairs(queries, about[rows], np.ones(len(rows), dtype=np.float32))

    return Lesson(
        documents=documents,
        clicks=pairs(taught, slang, 8),
        titles=pairs(known, vectors[known], 2),
        tags=pairs(known, vectors[known], 2),
        asked=pairs(known, vectors[known], 1).queries,
        held_out=pairs(taught, slang, 2),
    )


def _reciprocal_rank(lesson: Lesson, pairs: Pairs, adapter: QueryAdapter) -> float:
    scores = lesson.documents.scores(adapter(pairs.queries))
    own = np.take_along_axis(scores, pairs.targets[:, None], axis=1)
    return float(np.mean(1 / (1 + (scores > own).sum(axis=1))))


def _weights(adapter: QueryAdapter) -> np.ndarray:
    return np.concatenate([adapter.inner.ravel(), adapter.inner_bias, adapter.outer.ravel()])


@given(
    st.integers(0, 9),
    arrays.arrays(np.float32, (3, 6), elements=st.floats(-4, 4, width=32).map(lambda x: round(x, 3))),
)
def test_lengths_stay_and_rows_do_not_touch_each_other(seed, queries):
    adapter = _random_adapter(seed)
    moved = adapter(queries)
    np.testing.assert_allclose(
        np.linalg.norm(moved, axis=1), np.linalg.norm(queries, axis=1), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(moved, np.stack([adapter(query) for query in queries]), rtol=1e-4, atol=1e-5)


def test_it_is_the_network_that_was_trained():
    network = AdapterNetwork(dimension=6, hidden=8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    queries = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)
    expected = network(torch.from_numpy(queries)).detach().numpy()
    np.testing.assert_allclose(network.adapter()(queries), expected, rtol=1e-4, atol=1e-5)


def test_what_is_read_is_what_was_written():
    adapter = _random_adapter(3)
    files = {FILE: adapter.to_bytes()}
    again = QueryAdapter.from_files(files, dimension=6)
    assert again is not None
    np.testing.assert_array_equal(_weights(again), _weights(adapter))
    assert again.to_bytes() == files[FILE]
    assert QueryAdapter.from_files({}, dimension=6) is None


@pytest.mark.parametrize(
    "data",
    [b"", b"not safetensors", _random_adapter(1).to_bytes()[:-3]],
    ids=["empty", "other", "cut"],
)
def test_a_damaged_file_is_refused(data):
    with pytest.raises(ModelError, match=FILE):
        QueryAdapter.from_bytes(data)


def test_one_for_other_vectors_is_refused():
    with pytest.raises(ModelError, match="6 numbers, not of 7"):
        QueryAdapter.from_files({FILE: _random_adapter(1).to_bytes()}, dimension=7)


def test_weakened_goes_from_nothing_to_everything():
    lesson = _lesson()
    trained = train_adapter(lesson, options=QUICK)
    queries = lesson.clicks.queries
    np.testing.assert_allclose(
        trained.adapter.weakened(trained.untrained, 0.0)(queries), queries, rtol=1e-4, atol=1e-5
    )
    whole = trained.adapter.weakened(trained.untrained, 1.0)
    np.testing.assert_allclose(_weights(whole), _weights(trained.adapter), atol=1e-6)
    half = trained.adapter.weakened(trained.untrained, 0.5)
    ranks = [_reciprocal_rank(lesson, lesson.held_out, each) for each in (trained.untrained, half, whole)]
    assert ranks[0] < ranks[1] <= ranks[2] + 0.05


def test_clicks_teach_and_what_nobody_clicked_stays():
    lesson = _lesson()
    trained = train_adapter(lesson, options=QUICK)
    before = _reciprocal_rank(lesson, lesson.held_out, trained.untrained)
    assert before < 0.1
    assert _reciprocal_rank(lesson, lesson.held_out, trained.adapter) > 0.5
    assert _reciprocal_rank(lesson, lesson.titles, trained.adapter) > 0.95
    assert trained.held_out_losses[-1] < trained.held_out_losses[0]


def test_without_replay_and_identity_what_was_known_suffers():
    """The terms do something: the naive way forgets, as in the literature."""
    lesson = _lesson()
    naive = replace(QUICK, loss=LossWeights(replay=0, identity=0))
    known = [
        _reciprocal_rank(lesson, lesson.titles, train_adapter(lesson, options=options).adapter)
        for options in (naive, QUICK)
    ]
    assert known[0] < known[1]


@pytest.mark.parametrize(
    "options",
    [
        replace(QUICK, hard_negatives=4),
        replace(QUICK, curriculum=True),
        replace(QUICK, loss=LossWeights(distillation=1.0)),
        replace(QUICK, loss=LossWeights(alignment=1.0)),
        replace(QUICK, loss=LossWeights(generation=1.0)),
    ],
    ids=["hard negatives", "curriculum", "distillation", "alignment", "generation"],
)
def test_each_flag_trains_something_else_that_learns_too(options):
    lesson = _lesson()
    plain, other = (train_adapter(lesson, options=each) for each in (QUICK, options))
    assert not np.allclose(_weights(plain.adapter), _weights(other.adapter))
    assert _reciprocal_rank(lesson, lesson.held_out, other.adapter) > 0.3


def test_each_document_lies_in_the_leaf_with_the_nearest_centroid():
    documents = _lesson().documents
    leaves = fit_leaves(documents, per_leaf=20, seed=0)
    distances = ((documents.vectors[:, None] - leaves.centroids[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(distances.argmin(axis=1), leaves.of_rows)
    assert 2 < len(leaves.centroids) <= DOCUMENTS // 20
    again = fit_leaves(documents, per_leaf=20, seed=0)
    np.testing.assert_array_equal(again.centroids, leaves.centroids)


def test_the_term_of_generation_alone_teaches_in_which_leaf_to_look():
    """No softmax over documents: only the leaf of what was clicked is taught."""
    lesson = _lesson()
    options = replace(QUICK, documents_per_leaf=20, loss=LossWeights(clicks=0, generation=1.0))
    trained = train_adapter(lesson, options=options)
    leaves = fit_leaves(lesson.documents, per_leaf=20, seed=options.seed)
    shares = [
        float(np.mean((adapter(lesson.held_out.queries) @ leaves.centroids.T).argmax(axis=1) == wanted))
        for wanted in [leaves.of_rows[lesson.held_out.targets]]
        for adapter in (trained.untrained, trained.adapter)
    ]
    assert shares[0] < 0.3
    assert shares[1] > 0.7
    assert _reciprocal_rank(lesson, lesson.titles, trained.adapter) > 0.95


def test_a_run_that_was_killed_ends_as_if_it_had_not_been(tmp_path):
    lesson = _lesson()
    whole = train_adapter(lesson, options=QUICK)

    class KilledError(Exception):
        pass

    def kill(progress: Progress) -> None:
        if progress.step == 60:
            raise KilledError

    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KilledError):
        train_adapter(lesson, options=QUICK, checkpoint=checkpoint, on_progress=kill)
    steps: list[int] = []
    again = train_adapter(
        lesson, options=QUICK, checkpoint=checkpoint, on_progress=lambda progress: steps.append(progress.step)
    )
    assert steps == [90]
    np.testing.assert_array_equal(_weights(again.adapter), _weights(whole.adapter))
    assert again.held_out_losses == whole.held_out_losses


def test_a_checkpoint_of_another_window_is_not_taken_up(tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    train_adapter(_lesson(1), options=QUICK, checkpoint=checkpoint)
    lesson = _lesson(2)
    again = train_adapter(lesson, options=QUICK, checkpoint=checkpoint)
    np.testing.assert_array_equal(
        _weights(again.adapter), _weights(train_adapter(lesson, options=QUICK).adapter)
    )


def test_without_clicks_there_is_nothing_to_train():
    lesson = replace(_lesson(), clicks=Pairs.none(DIMENSION))
    with pytest.raises(ModelError, match="no clicks"):
        train_adapter(lesson, options=QUICK)


def test_of_several_vectors_the_one_that_is_meant_is_the_target():
    vectors = np.eye(4, dtype=np.float32)
    same = np.ones(4, dtype=np.float32)
    documents = Documents(vectors, 0 * same, same, np.array([0, 0, 1, 1]))
    queries = vectors[[1, 2]]
    found = nearest_rows(documents, queries, [np.array([0, 1]), np.array([2, 3])])
    assert found.tolist() == [1, 2]


def _train_in_processes(folder: Path, processes: int) -> np.ndarray:
    """The weights that `torchrun` with so many processes comes to."""
    out = folder / f"{processes}.npy"
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
            *("-m", "tests.unit.test_adapter", str(out)),
        ],
        check=True,
        timeout=120,
        capture_output=True,
    )
    return np.load(out)


@pytest.mark.timeout(240)
def test_two_processes_come_to_the_weights_of_one(tmp_path):
    one, two = (_train_in_processes(tmp_path, processes) for processes in (1, 2))
    np.testing.assert_allclose(two, one, atol=2e-4)


def _main(out: str) -> None:
    torch.distributed.init_process_group("gloo")
    trained: Trained = train_adapter(_lesson(), options=QUICK)
    if torch.distributed.get_rank() == 0:
        np.save(out, _weights(trained.adapter))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    _main(sys.argv[1])
