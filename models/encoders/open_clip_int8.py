"""An open_clip model in int8 on a CPU: both networks exported to ONNX once, their matrix products in 8 bits.

The text network of ViT-B-32 is about seven times as fast so; pictures gain little. An export stays in the cache
folder under the checksum of its weights; a damaged or half-written one is never read, it is moved into place whole.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import structlog
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType
from onnxruntime.quantization import quantize_dynamic as quantise_dynamic
from PIL import Image

from models.encoders.base import Vectors, unit_rows
from models.encoders.open_clip_texts import TextNetwork
from models.encoders.open_clip_weights import OpenClipWeights

_BATCH = 4
_OPSET = 18

_log = structlog.get_logger()


class Int8Towers:
    """See the module; made by `exported`."""

    precision = "int8"

    def __init__(self, weights: OpenClipWeights, *, text: Path, picture: Path, threads: int) -> None:
        self._weights = weights
        self._cut = TextNetwork(weights.network).cut
        self._text = _session(text, threads)
        self._picture = _session(picture, threads)

    @classmethod
    def exported(cls, weights: OpenClipWeights, *, threads: int, cache: Path | None) -> Int8Towers:
        """From the cache folder, by default the user's; the export takes a minute for a large model."""
        folder = (cache or _user_cache()) / weights.checksum
        text, picture = folder / "text-of-any-length.int8.onnx", folder / "picture.int8.onnx"
        if not (text.exists() and picture.exists()):
            _log.info("exporting to int8", folder=str(folder))
            folder.mkdir(parents=True, exist_ok=True)
            network = TextNetwork(weights.network)
            _export(network, weights.tokens(["one", "two"]), text, is_any_length=network.looks_back)
            white = Image.new("RGB", (64, 64), "white")
            _export(_PictureNetwork(weights.network), weights.pixels([white, white]), picture)
        return cls(weights, text=text, picture=picture, threads=threads)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """(n, d) unit rows."""
        tokens = self._weights.tokens(texts).split(_BATCH)
        return _run(self._text, [self._cut(batch).numpy() for batch in tokens])

    def pictures(self, pictures: Sequence[Image.Image]) -> Vectors:
        """(n, d) unit rows."""
        pixels = self._weights.pixels(pictures).split(_BATCH)
        return _run(self._picture, [batch.numpy() for batch in pixels])


class _PictureNetwork(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        encoded: torch.Tensor = self.network.encode_image(inputs)
        return encoded


def _export(
    network: torch.nn.Module, example: torch.Tensor, target: Path, *, is_any_length: bool = False
) -> None:
    """Float32 ONNX and its quantisation are written aside; only the finished file gets its name."""
    length = {1: torch.export.Dim("length", max=example.shape[1])} if is_any_length else {}
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        plain, finished = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        torch.onnx.export(
            network.eval(),
            (example,),
            str(plain),
            input_names=["inputs"],
            output_names=["vectors"],
            dynamic_shapes=({0: torch.export.Dim("n")} | length,),
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
        # Weights keep 7 bits: 8 bits saturate on CPUs without VNNI.
        quantise_dynamic(
            str(plain), str(finished), weight_type=QuantType.QInt8, per_channel=True, reduce_range=True,
            op_types_to_quantize=["MatMul", "Gemm"],
        )  # fmt: skip
        os.replace(finished, target)


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, batches: Sequence[NDArray[np.generic]]) -> Vectors:
    return unit_rows(np.concatenate([session.run(["vectors"], {"inputs": batch})[0] for batch in batches]))


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "trieflow" / "int8"
