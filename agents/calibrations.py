"""How texts and pictures as queries score against each kind of vector of a document."""

from __future__ import annotations

from agents.asked import PartKind
from models.encoders.base import EncoderDescription
from state.vector_rows import Calibration
from streams.events.documents import VectorKind


def calibrations(encoder: EncoderDescription, kind: PartKind) -> dict[VectorKind, Calibration]:
    """By kind of document vector, mean and spread of its products with queries of a kind, where they are known."""
    names: dict[VectorKind, str] = {
        "image": f"{kind}>image",
        "text": f"{kind}>text",
        "passage": f"{kind}>text",
        "fused": f"{kind}>{kind}",
    }
    known = encoder.calibration
    return {
        document_kind: Calibration(known[name].mean, known[name].spread)
        for document_kind, name in names.items()
        if name in known
    }
