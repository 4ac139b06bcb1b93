"""What every discretiser holds to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.codebooks.discretisers import (
    BottomUpTree,
    Discretiser,
    ProductQuantiser,
    ResidualQuantiser,
    SignHash,
    TopDownTree,
    scores,
)
from streams.errors import ModelError

MAKERS: dict[str, Callable[[], Discretiser]] = {
    "bottom-up tree": lambda: BottomUpTree(60),
    "top-down tree": lambda: TopDownTree((4, 4, 4)),
    "residual quantisation": lambda: ResidualQuantiser(levels=3, bits=2),
    "product quantisation": lambda: ProductQuantiser(levels=3, bits=2),
    "sign hash": lambda: SignHash(levels=3, bits=2),
}
DIMENSION = 10


@pytest.fixture(params=list(MAKERS))
def make(request) -> Callable[[], Discretiser]:
    return MAKERS[request.param]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    random = np.random.default_rng(0)
    middles = random.standard_normal((8, DIMENSION)) * 2
    return (middles[random.integers(8, size=2_000)] + random.standard_normal((2_000, DIMENSION))).astype(
        np.float32
    )


def fitted(make: Callable[[], Discretiser], vectors: np.ndarray, seed: int = 0) -> Discretiser:
    discretiser = make()
    discretiser.fit(vectors, seed)
    return discretiser


def test_codes_have_a_number_below_its_size_for_each_level(make, vectors):
    discretiser = fitted(make, vectors)
    codes = discretiser.encode(vectors)
    assert codes.shape == (2_000, len(discretiser.sizes))
    assert codes.dtype == np.int64
    assert (codes >= 0).all()
    assert (codes < discretiser.sizes).all()
    assert len(np.unique(codes, axis=0)) > 20
    assert discretiser.nbytes > 0


def test_the_same_seed_gives_the_same_codes(make, vectors):
    one, same = fitted(make, vectors, 7), fitted(make, vectors, 7)
    assert np.array_equal(one.encode(vectors), same.encode(vectors))


def test_a_vector_has_the_same_code_alone_as_among_others(make, vectors):
    discretiser = fitted(make, vectors)
    together = discretiser.encode(vectors[:50])
    alone = np.concatenate([discretiser.encode(vectors[row : row + 1]) for row in range(50)])
    assert np.array_equal(together, alone)


def test_each_level_says_more(make, vectors):
    discretiser = fitted(make, vectors)
    codes = discretiser.encode(vectors)
    errors = [((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).mean()]
    for length in range(1, codes.shape[1] + 1):
        meant = discretiser.decode(codes[:, :length])
        assert meant.shape == vectors.shape
        assert meant.dtype == np.float32
        errors.append(((vectors - meant) ** 2).sum(axis=1).mean())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.75 * errors[0]


def test_a_query_ranks_the_prefixes_that_its_neighbours_have_first(make, vectors):
    discretiser = fitted(make, vectors)
    codes = discretiser.encode(vectors)
    queries = vectors[:200]
    for length in range(1, codes.shape[1] + 1):
        live, own = np.unique(codes[:, :length], axis=0, return_inverse=True)
        ranked = scores(discretiser, queries, live)
        assert ranked.shape == (200, len(live))
        better = (ranked > ranked[np.arange(200), own[:200]][:, None]).sum(axis=1)
        assert better.mean() < 0.2 * len(live)


def test_a_score_is_the_product_less_half_of_the_squared_length(make, vectors):
    discretiser = fitted(make, vectors)
    codes = discretiser.encode(vectors[:5])
    meant = discretiser.decode(codes)
    expected = [[q @ m - m @ m / 2 for m in meant] for q in vectors[:3]]
    assert scores(discretiser, vectors[:3], codes) == pytest.approx(np.array(expected), abs=1e-3)


def test_too_few_vectors_are_refused(make):
    with pytest.raises(ModelError):
        fitted(make, np.zeros((3, DIMENSION), dtype=np.float32))


def test_more_bits_than_dimensions_are_refused(vectors):
    with pytest.raises(ModelError, match="dimensions"):
        SignHash(levels=3, bits=4).fit(vectors, 0)
