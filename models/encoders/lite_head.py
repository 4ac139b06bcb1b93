"""The arithmetic of `lite` above its two networks: how network outputs and sentence vectors become one space.

A picture is the sum of two readings, each a vector in the space of texts: ConSE (the class probabilities times the
classes' texts; it carries photos and was never trained here) and the adapter (a small trained network; it carries
drawings). One more number takes from pictures that are near everything ("hubs") what they would win unfairly; a
query has 1 there, so that a plain inner product does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from models.encoders.base import unit_rows
from models.encoders.lite_network import NetworkOutputs

Floats = NDArray[np.float32]

TEXT_DIMENSION = 512
DIMENSION = TEXT_DIMENSION + 1
RAW_DIMENSION = 1280

# Chosen on held-out drawings, see the model card.
_CONSE_CLASSES = 50
_CONSE_TEMPERATURE = 1.5
_CONSE_WEIGHT = 0.6
_HUB_NEIGHBOURS = 10
_HUB_WEIGHT = 0.5


@dataclass(frozen=True)
class LiteHead:
    """All arrays are float32.

    `text_mean` (512); `class_texts` (1000, 512) and `bank` (m, 512), unit rows of centred texts; `input_mean` and
    `input_scale` (1944); `hidden_weight` (768, 1944), `hidden_bias` (768), `output_weight` (512, 768),
    `output_bias` (512).
    """

    text_mean: Floats
    class_texts: Floats
    bank: Floats
    input_mean: Floats
    input_scale: Floats
    hidden_weight: Floats
    hidden_bias: Floats
    output_weight: Floats
    output_bias: Floats

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]]) -> LiteHead:
        """From arrays of any float type by field name; raises `KeyError` where one is missing."""
        return cls(**{field.name: tensors[field.name].astype(np.float32) for field in fields(cls)})

    def texts(self, sentence_vectors: Floats) -> Floats:
        """(n, 512) sentence vectors -> (n, 512) unit rows about the mean of names; one mean for all languages."""
        return unit_rows(sentence_vectors - self.text_mean)

    def pictures(self, outputs: NetworkOutputs) -> Floats:
        """(n, 512) unit rows in the space of `texts`."""
        return unit_rows(self.adapted(outputs) + _CONSE_WEIGHT * self.conse(outputs))

    def hub(self, vectors: Floats) -> Floats:
        """(n, 1): minus half the mean of the 10 largest products with the bank of names."""
        products = vectors @ self.bank.T
        nearest = np.partition(products, -_HUB_NEIGHBOURS, axis=1)[:, -_HUB_NEIGHBOURS:]
        return np.asarray(-_HUB_WEIGHT * nearest.mean(axis=1, keepdims=True), dtype=np.float32)

    def conse(self, outputs: NetworkOutputs) -> Floats:
        """(n, 512): convex combination of semantic embeddings (Norouzi et al. 2014), of the top 50 classes."""
        scaled = outputs.logits / _CONSE_TEMPERATURE
        weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        least = np.partition(weights, -_CONSE_CLASSES, axis=1)[:, -_CONSE_CLASSES, None]
        return unit_rows(np.where(weights >= least, weights, 0.0).astype(np.float32) @ self.class_texts)

    def adapted(self, outputs: NetworkOutputs) -> Floats:
        """(n, 512): the trained part."""
        inputs = (adapter_input(outputs) - self.input_mean) / self.input_scale
        hidden = _gelu(inputs @ self.hidden_weight.T + self.hidden_bias)
        return unit_rows(hidden @ self.output_weight.T + self.output_bias)


def raw_features(outputs: NetworkOutputs) -> Floats:
    """(n, 1280) unit rows for picture to picture: roots, so that a few strong channels do not decide alone."""
    return unit_rows(_roots(outputs))


def adapter_input(outputs: NetworkOutputs) -> Floats:
    """(n, 1944): roots of the pooled features, and the pooled middle stages."""
    return np.concatenate([_roots(outputs), outputs.middle], axis=1)


def _roots(outputs: NetworkOutputs) -> Floats:
    return np.sqrt(np.maximum(outputs.features, 0.0))


def _gelu(x: NDArray[np.floating]) -> Floats:
    """The tanh form, as in training."""
    return np.asarray(0.5 * x * (1.0 + np.tanh(0.7978845608 * (x + 0.044715 * x**3))), dtype=np.float32)
