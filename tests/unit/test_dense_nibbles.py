from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from state.dense.nibbles import HALF_SQUARE, decode, encode, half_of, halved, middle_of, product


def encoded(vectors: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    codes = np.zeros((len(vectors), half_of(vectors.shape[1])), dtype=np.uint8)
    weights = np.zeros((len(vectors), 2), dtype=np.float32)
    for node, vector in enumerate(vectors):
        encode(halved(vector), codes, weights, node)
    return codes, weights


def normal(count: int, dimension: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(count, dimension)).astype(np.float32)


@pytest.mark.parametrize("dimension", [1, 2, 7, 256, 513])
def test_products_are_those_of_the_decoded_row(dimension: int) -> None:
    vectors = normal(20, dimension)
    codes, weights = encoded(vectors)
    query = halved(vectors[3])
    row = np.zeros_like(query)
    for node in range(20):
        decode(codes, weights, node, row)
        exact = float((row * query).sum())
        assert product(codes, weights, node, query, middle_of(query)) == pytest.approx(exact, abs=1e-3)


def test_a_row_has_its_own_length_and_keeps_its_half_square() -> None:
    vectors = normal(20, 64) * np.float32(3.0)
    codes, weights = encoded(vectors)
    for node, vector in enumerate(vectors):
        own = halved(vector)
        square = float(vector @ vector)
        assert product(codes, weights, node, own, middle_of(own)) == pytest.approx(square, rel=1e-4)
        assert weights[node, HALF_SQUARE] == pytest.approx(square / 2, rel=1e-5)


def test_products_are_unbiased_and_near() -> None:
    vectors = normal(1000, 256)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    codes, weights = encoded(vectors)
    query = halved(vectors[0])
    coarse = [product(codes, weights, node, query, middle_of(query)) for node in range(1, 1000)]
    errors = np.array(coarse) - vectors[1:] @ vectors[0]
    assert abs(errors.mean()) < 0.001
    assert errors.std() < 0.01


@pytest.mark.parametrize("vector", [[0.0] * 5, [1.0, 0, 0, 0, 0], [1e-20] * 5, [1e15, 1, 1, 1, -1e15]])
def test_strange_vectors_give_numbers(vector: list[float]) -> None:
    codes, weights = encoded(np.array([vector], dtype=np.float32))
    query = halved(np.ones(5, dtype=np.float32))
    assert np.isfinite(product(codes, weights, 0, query, middle_of(query)))
    assert np.isfinite(weights).all()
