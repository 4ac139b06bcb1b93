"""What training and measuring need, in one place: drawings, their features, and the vectors of their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from benchmarks.train_lite import network
from benchmarks.train_lite.features import picture_outputs, text_vectors
from benchmarks.train_lite.names import emoji_names, part_of
from benchmarks.train_lite.packages import fetch
from benchmarks.train_lite.sources import Drawing, openmoji_drawings, picture_of, training_drawings
from models.encoders.lite_network import NetworkOutputs, pixels

SEED = 20_240
_CALIBRATION_DRAWINGS = 100

_log = structlog.get_logger()


@dataclass(frozen=True)
class Prepared:
    """Drawings with their network outputs, row by row, and a vector (512) for each text that occurs."""

    network: Path
    drawings: list[Drawing]
    outputs: NetworkOutputs
    openmoji: list[Drawing]
    openmoji_outputs: NetworkOutputs
    texts: dict[str, NDArray[np.float32]]


def prepare(cache: Path) -> Prepared:
    """Fetch, export, encode; all of it is kept in `cache` and done once."""
    packages = fetch(cache)
    emoji = emoji_names(packages)
    drawings = training_drawings(packages, emoji)
    openmoji = openmoji_drawings(emoji)
    _log.info("drawings", training=len(drawings), openmoji=len(openmoji))
    quantised = picture_network(cache, drawings)
    everything = [*drawings, *openmoji]
    texts = [text for drawing in everything for text in (*drawing.names.values(), drawing.tags) if text]
    return Prepared(
        network=quantised,
        drawings=drawings,
        outputs=picture_outputs(drawings, network=quantised, cache=cache),
        openmoji=openmoji,
        openmoji_outputs=picture_outputs(openmoji, network=quantised, cache=cache),
        texts=text_vectors(texts, cache=cache),
    )


def picture_network(cache: Path, drawings: list[Drawing]) -> Path:
    """The int8 network; calibrated on drawings whose names are trained on, chosen by a fixed seed."""
    target = cache / "network.int8.onnx"
    if target.exists():
        return target
    source, unfinished = cache / "network.float32.onnx", cache / "network.unfinished.onnx"
    network.export(source)
    trained = [drawing for drawing in drawings if part_of(drawing.name) == "train"]
    chosen = np.random.default_rng(SEED).choice(len(trained), _CALIBRATION_DRAWINGS, replace=False)
    network.quantise(source, unfinished, pictures=(pixels(picture_of(trained[row])) for row in chosen))
    return unfinished.rename(target)
