"""Weights, tokeniser and preprocessing of an open_clip model, or a clear word about what is missing.

Imports torch: only `open_clip.py` may import this, and only when such a model is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from streams.errors import ModelError

# "random:<seed>" as `pretrained`: no weights at all, for tests and benchmarks.
_RANDOM = "random:"


@dataclass(frozen=True)
class OpenClipWeights:
    """A loaded model in evaluation mode, on the CPU in float32; `checksum` is a sha256 over all its tensors."""

    network: torch.nn.Module
    tokeniser: open_clip.SimpleTokenizer
    checksum: str
    size_bytes: int
    context_length: int
    languages: tuple[str, ...]

    def tokens(self, texts: Sequence[str]) -> torch.Tensor:
        """int64 (n, context length)."""
        tokens: torch.Tensor = self.tokeniser(list(texts))
        return tokens

    def pixels(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """float32 (n, 3, side, side), as the model was trained to see them."""
        configuration = PreprocessCfg(**self.network.visual.preprocess_cfg)
        transform = image_transform_v2(configuration, is_train=False)
        return torch.stack([transform(picture.convert("RGB")) for picture in pictures])


def load_weights(model: str, pretrained: str) -> OpenClipWeights:
    """Raises `ModelError` for unknown names and for weights that can neither be found nor fetched."""
    try:
        network = _created(model, pretrained).eval()
        tokeniser = open_clip.get_tokenizer(model)
    except (
        Exception
    ) as error:  # open_clip and its hub raise many kinds; each means that this model cannot be had
        raise ModelError(
            f"open_clip:{model}/{pretrained} cannot be loaded: {error}. The first run fetches the weights and the "
            "tokeniser from the model hub and needs a network; without one, copy the hub's cache folder from a "
            "machine that has them (HF_HOME says where it is), or give the path of a checkpoint file."
        ) from error
    english_only = isinstance(tokeniser, open_clip.SimpleTokenizer)
    checksum, size_bytes = _checksum(network)
    return OpenClipWeights(
        network=network,
        tokeniser=tokeniser,
        checksum=checksum,
        size_bytes=size_bytes,
        context_length=int(tokeniser.context_length),
        languages=("en",) if english_only else (),
    )


def _created(model: str, pretrained: str) -> torch.nn.Module:
    if not pretrained.startswith(_RANDOM):
        return open_clip.create_model(model, pretrained=pretrained, require_pretrained=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(pretrained.removeprefix(_RANDOM)))
        return open_clip.create_model(model, pretrained=None)


def _checksum(network: torch.nn.Module) -> tuple[str, int]:
    """sha256 over tensors and preprocessing, so that the same tag with other weights has another stamp; bytes."""
    digest = hashlib.sha256(json.dumps(network.visual.preprocess_cfg, sort_keys=True, default=str).encode())
    size_bytes = 0
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy())
        size_bytes += tensor.nbytes
    return digest.hexdigest(), size_bytes
