"""The arithmetic above the two networks of lite, against the same thing written plainly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.encoders.lite_head import LiteHead, raw_features
from models.encoders.lite_network import NetworkOutputs


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def head_of(random: np.random.Generator) -> LiteHead:
    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    def units(rows: int) -> np.ndarray:
        drawn = normal(rows, 512)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    return LiteHead(
        text_mean=0.02 * normal(512),
        class_texts=units(1000),
        bank=units(64),
        input_mean=normal(1944),
        input_scale=1 + np.abs(normal(1944)),
        hidden_weight=0.05 * normal(768, 1944),
        hidden_bias=normal(768),
        output_weight=0.05 * normal(512, 768),
        output_bias=normal(512),
    )


def outputs_of(random: np.random.Generator, rows: int = 3) -> NetworkOutputs:
    return NetworkOutputs(
        features=np.abs(random.normal(size=(rows, 1280))).astype(np.float32),
        logits=(4 * random.normal(size=(rows, 1000))).astype(np.float32),
        middle=random.normal(size=(rows, 664)).astype(np.float32),
    )


def test_conse_is_the_mean_of_the_likeliest_classes_texts(random: np.random.Generator) -> None:
    head, outputs = head_of(random), outputs_of(random)
    for row, logits in enumerate(outputs.logits):
        likeliest = sorted(range(1000), key=lambda index: -logits[index])[:50]
        total = sum(
            math.exp(logits[index] / 1.5) * head.class_texts[index].astype(float) for index in likeliest
        )
        np.testing.assert_allclose(head.conse(outputs)[row], total / np.linalg.norm(total), atol=1e-5)


def test_the_hub_number_is_minus_half_the_mean_of_the_ten_nearest_names(random: np.random.Generator) -> None:
    head = head_of(random)
    vectors = head.pictures(outputs_of(random))
    for vector, number in zip(vectors, head.hub(vectors), strict=True):
        nearest = sorted((float(vector @ name) for name in head.bank), reverse=True)[:10]
        assert number[0] == pytest.approx(-0.5 * sum(nearest) / 10, abs=1e-5)


def test_the_adapter_is_the_network_that_was_trained(random: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    head, outputs = head_of(random), outputs_of(random)
    network = torch.nn.Sequential(
        torch.nn.Linear(1944, 768), torch.nn.GELU(approximate="tanh"), torch.nn.Linear(768, 512)
    )
    tensors = (head.hidden_weight, head.hidden_bias, head.output_weight, head.output_bias)
    with torch.no_grad():
        for parameter, tensor in zip(network.parameters(), tensors, strict=True):
            parameter.copy_(torch.from_numpy(tensor))
        inputs = np.concatenate([np.sqrt(outputs.features), outputs.middle], axis=1)
        trained = torch.nn.functional.normalize(
            network(torch.from_numpy((inputs - head.input_mean) / head.input_scale))
        )
    np.testing.assert_allclose(head.adapted(outputs), trained.numpy(), atol=1e-5)


def test_raw_features_are_unit_rows_even_of_a_picture_that_excites_nothing(
    random: np.random.Generator,
) -> None:
    outputs = outputs_of(random)
    outputs.features[1] = 0.0
    np.testing.assert_allclose(np.linalg.norm(raw_features(outputs), axis=1), [1, 0, 1], atol=1e-5)


def test_float16_tensors_make_the_same_head_within_their_rounding(random: np.random.Generator) -> None:
    head, outputs = head_of(random), outputs_of(random)
    rounded = LiteHead.from_tensors({name: array.astype(np.float16) for name, array in vars(head).items()})
    assert np.einsum("nd,nd->n", head.pictures(outputs), rounded.pictures(outputs)).min() > 0.999


def test_a_missing_tensor_is_an_error(random: np.random.Generator) -> None:
    tensors = {name: array for name, array in vars(head_of(random)).items() if name != "bank"}
    with pytest.raises(KeyError, match="bank"):
        LiteHead.from_tensors(tensors)
