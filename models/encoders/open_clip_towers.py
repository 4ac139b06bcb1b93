"""The networks of an open_clip model in torch: float32 on a CPU, bfloat16 autocast on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image

from models.encoders.base import Vectors, unit_rows
from models.encoders.open_clip_texts import TextNetwork
from models.encoders.open_clip_weights import OpenClipWeights

_CPU_BATCH = 16
_CUDA_BATCH = 256


class TorchTowers:
    """See the module. `precision` is float32 or bfloat16, by default what suits the device."""

    def __init__(
        self,
        weights: OpenClipWeights,
        *,
        precision: str | None,
        threads: int,
    ) -> None:
        torch.set_num_threads(threads)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self.precision = precision or ("bfloat16" if self._device == "cuda" else "float32")
        self._batch = _CUDA_BATCH if self._device == "cuda" else _CPU_BATCH
        self._weights = weights
        self._network = weights.network.to(self._device)
        self._text = TextNetwork(self._network)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """(n, d) unit rows."""
        tokens = self._weights.tokens(texts).split(self._batch)
        return self._encoded(self._text, [self._text.cut(batch) for batch in tokens])

    def pictures(self, pictures: Sequence[Image.Image]) -> Vectors:
        """(n, d) unit rows."""
        return self._encoded(self._network.encode_image, self._weights.pixels(pictures).split(self._batch))

    def _encoded(
        self, encode: Callable[[torch.Tensor], torch.Tensor], inputs: Sequence[torch.Tensor]
    ) -> Vectors:
        enabled = self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self._device, dtype=torch.bfloat16, enabled=enabled):
            batches = [encode(batch.to(self._device)).float().cpu() for batch in inputs]
        return unit_rows(torch.cat(batches).numpy())
