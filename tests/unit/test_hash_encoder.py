"""The encoder of unit tests has to put like near like, or the tests above it mean nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from PIL import Image

from models.encoders import PicturePart, TextPart
from models.encoders.hash import HashEncoder


def scores(
    query: TextPart | PicturePart, documents: list[TextPart | PicturePart], dimension: int = 64
) -> list[float]:
    encoder = HashEncoder(dimension)
    vector = encoder.encode([query], side="query").vectors[0]
    return [float(score) for score in encoder.encode(documents, side="document").vectors @ vector]


def solid(colour: str) -> PicturePart:
    return PicturePart(Image.new("RGB", (30, 30), colour))


@pytest.mark.parametrize("dimension", [32, 64, 512])
def test_shared_words_and_shared_stems_are_near(dimension: int) -> None:
    same, stem, other = scores(
        TextPart("red apples"),
        [TextPart("Apples, red"), TextPart("red apple"), TextPart("quarterly report")],
        dimension,
    )
    assert same > 0.95
    assert same > stem > other


def test_a_colour_that_was_used_before_the_encoder_is_loaded_is_known_all_the_same() -> None:
    script = (
        "from PIL import Image; Image.new('RGB', (1, 1), 'red'); "
        "from models.encoders.hash import _COLOURS; assert _COLOURS['red'] == (255, 0, 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("colour", ["red", "green", "blue", "gold"])
def test_a_colour_word_finds_the_picture_in_that_colour(colour: str) -> None:
    colours = ["red", "green", "blue", "gold"]
    found = scores(TextPart(f"a {colour} thing"), [solid(name) for name in colours])
    assert colours[found.index(max(found))] == colour


def test_a_picture_is_nearer_to_a_smaller_copy_than_to_another() -> None:
    gradient = Image.linear_gradient("L").convert("RGB")
    copy, other = scores(
        PicturePart(gradient), [PicturePart(gradient.resize((60, 60))), PicturePart(gradient.rotate(90))]
    )
    assert copy > 0.98
    assert copy > other


def test_texts_without_letters_still_have_vectors() -> None:
    assert scores(TextPart("!?"), [TextPart("!?"), TextPart("")])[0] == pytest.approx(1.0, abs=1e-5)


def test_a_lone_surrogate_is_no_error() -> None:
    assert scores(TextPart("\ud800"), [TextPart("\ud800")])[0] == pytest.approx(1.0, abs=1e-5)
