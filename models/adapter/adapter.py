"""A residual network on query vectors, as a searcher applies it. Documents are never touched by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from streams.errors import ModelError

FILE = "adapter.safetensors"
_NAMES = ("inner", "inner_bias", "outer")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class QueryAdapter:
    """q -> |q| · unit(u + outer · gelu(inner · (√d u) + bias)), with u = unit(q): the length stays.

    inner: (h, d), inner_bias: (h,), outer: (d, h); gelu is the one with tanh. With `outer` all zero it changes
    nothing. The input is scaled by √d, for unscaled the network is nearly linear and learns new words at a third
    (measured in simulations).
    """

    inner: Floats
    inner_bias: Floats
    outer: Floats

    def __post_init__(self) -> None:
        hidden, dimension = self.inner.shape
        if self.inner_bias.shape != (hidden,) or self.outer.shape != (dimension, hidden):
            raise ModelError(
                f"the arrays of an adapter do not fit: inner {self.inner.shape}, "
                f"inner_bias {self.inner_bias.shape}, outer {self.outer.shape}"
            )

    @property
    def dimension(self) -> int:
        return int(self.inner.shape[1])

    def __call__(self, queries: Floats) -> Floats:
        """Move queries, (n, d) or (d,). A zero vector stays."""
        lengths = np.linalg.norm(queries, axis=-1, keepdims=True)
        units = queries / np.maximum(lengths, np.float32(1e-12))
        hidden = units * np.float32(np.sqrt(self.dimension)) @ self.inner.T + self.inner_bias
        moved = units + _gelu(hidden) @ self.outer.T
        again = np.maximum(np.linalg.norm(moved, axis=-1, keepdims=True), np.float32(1e-12))
        return np.asarray(moved / again * lengths, dtype=np.float32)

    def weakened(self, untrained: QueryAdapter, share: float) -> QueryAdapter:
        """Weights on the line from the untrained network (share 0) to this one (1): WiSE (Wortsman et al. 2022)."""
        return QueryAdapter(
            *(
                np.asarray(before + np.float32(share) * (now - before), dtype=np.float32)
                for before, now in zip(untrained._arrays(), self._arrays(), strict=True)
            )
        )

    def to_bytes(self) -> bytes:
        """One safetensors file. The same adapter gives the same bytes."""
        arrays = {
            name: np.ascontiguousarray(array) for name, array in zip(_NAMES, self._arrays(), strict=True)
        }
        return bytes(safetensors.save(arrays))

    @classmethod
    def from_bytes(cls, data: bytes) -> QueryAdapter:
        """Raises ModelError when it is damaged."""
        try:
            arrays = safetensors.load(data)
            return cls(*(np.asarray(arrays[name], dtype=np.float32) for name in _NAMES))
        except (SafetensorError, KeyError, ValueError) as error:
            raise ModelError(f"{FILE} is not readable: {error}") from error

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], *, dimension: int) -> QueryAdapter | None:
        """The adapter of a bundle, None when it has none. Raises ModelError when it is damaged or does not fit."""
        if FILE not in files:
            return None
        found = cls.from_bytes(files[FILE])
        if found.dimension != dimension:
            raise ModelError(f"{FILE} is for vectors of {found.dimension} numbers, not of {dimension}")
        return found

    def _arrays(self) -> tuple[Floats, Floats, Floats]:
        return self.inner, self.inner_bias, self.outer


def _gelu(values: Floats) -> Floats:
    inside = np.float32(np.sqrt(2 / np.pi)) * (values + np.float32(0.044715) * values**3)
    return np.asarray(np.float32(0.5) * values * (1 + np.tanh(inside)), dtype=np.float32)
