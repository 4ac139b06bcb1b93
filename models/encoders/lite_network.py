"""The picture network of `lite` in ONNX Runtime: pixels in, features, class logits and middle stages out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

SIDE = 224
# Larger batches fall out of the cache and are slower on one core.
_BATCH = 4


@dataclass(frozen=True)
class NetworkOutputs:
    """Of n pictures, float32: `features` (n, 1280), `logits` (n, 1000), `middle` (n, 664)."""

    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    middle: NDArray[np.float32]


class LiteNetwork:
    """EfficientNet-Lite0, exported by `benchmarks/train_lite`."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, pictures: Sequence[Image.Image]) -> NetworkOutputs:
        """Outputs of n RGB pictures; each is squashed to 224 x 224, no part is cropped away."""
        batches = [self._batch(pictures[start : start + _BATCH]) for start in range(0, len(pictures), _BATCH)]
        features, logits, middle = (np.concatenate(outputs) for outputs in zip(*batches, strict=True))
        return NetworkOutputs(features, logits, middle)

    def _batch(self, pictures: Sequence[Image.Image]) -> list[NDArray[np.float32]]:
        outputs: list[NDArray[np.float32]] = self._session.run(
            ["features", "logits", "middle"], {"pixels": np.stack([pixels(picture) for picture in pictures])}
        )
        return outputs


def pixels(picture: Image.Image) -> NDArray[np.float32]:
    """(3, 224, 224) in [-1, 1]."""
    square = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square, np.float32).transpose(2, 0, 1) / 127.5 - 1.0)
