"""What every encoder promises, asked of all of them: hash, lite, and an open_clip model with random weights."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from models.encoders import (
    CachedEncoder,
    Encoder,
    FolderVectorStore,
    Part,
    PicturePart,
    Side,
    TextPart,
    load_encoder,
)
from models.encoders.open_clip import OpenClipEncoder

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
SIDES: tuple[Side, ...] = ("document", "query")
NAMES = ("hash", "hash:128", "lite", "open_clip", "open_clip int8", "cached hash")


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Encoder]:
    """Each encoder is loaded once for the whole run, in whatever order the tests come."""
    folder = tmp_path_factory.mktemp("encoders")
    register_tiny_model(folder)

    @cache
    def load(name: str) -> Encoder:
        if name.startswith("open_clip"):
            precision = "int8" if name.endswith("int8") else "float32"
            return OpenClipEncoder.load("trieflow-tiny", "random:3", precision=precision, cache=folder)
        if name == "cached hash":
            return load_encoder("hash", cache=FolderVectorStore(str(folder)))
        return load_encoder(name)

    return load


@pytest.fixture(params=NAMES)
def encoder(request: pytest.FixtureRequest, loaded: Callable[[str], Encoder]) -> Encoder:
    return loaded(request.param)


def register_tiny_model(folder: Path) -> None:
    import open_clip

    (folder / "trieflow-tiny.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder)


def shape(colour: str = "crimson", *, ground: str = "white", side: int = 120) -> Image.Image:
    picture = Image.new("RGB", (side, side * 3 // 4), ground)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((side // 6, side // 8, side // 2, side // 2), fill=colour)
    draw.rectangle((side // 2, side // 3, side * 5 // 6, side * 5 // 8), fill="black")
    return picture


def mixed_parts() -> list[Part]:
    return [
        TextPart("a red bicycle"),
        PicturePart(shape()),
        TextPart("una bicicleta roja", language="es"),
        PicturePart(shape("gold", ground="navy", side=300)),
        TextPart("自転車", language="ja"),
        TextPart(""),
    ]


@pytest.mark.parametrize("side", SIDES)
def test_a_row_for_each_part_in_float32(encoder: Encoder, side: Side) -> None:
    encoded = encoder.encode(mixed_parts(), side=side)
    description = encoder.description
    assert encoded.vectors.shape == (6, description.dimension)
    assert encoded.raw.shape == (6, description.raw_dimension)
    assert encoded.vectors.dtype == encoded.raw.dtype == np.float32
    assert np.isfinite(encoded.vectors).all()
    assert (np.linalg.norm(encoded.vectors, axis=1) > 0.9).all()


@pytest.mark.parametrize("side", SIDES)
def test_no_parts_give_no_rows_of_the_right_width(encoder: Encoder, side: Side) -> None:
    encoded = encoder.encode([], side=side)
    assert encoded.vectors.shape == (0, encoder.description.dimension)
    assert encoded.raw.shape == (0, encoder.description.raw_dimension)


@pytest.mark.parametrize("side", SIDES)
def test_the_same_parts_give_the_same_numbers(encoder: Encoder, side: Side) -> None:
    first, second = (encoder.encode(mixed_parts(), side=side) for _ in range(2))
    np.testing.assert_array_equal(first.vectors, second.vectors)
    np.testing.assert_array_equal(first.raw, second.raw)


@pytest.mark.parametrize("side", SIDES)
def test_a_batch_gives_what_one_by_one_gives(encoder: Encoder, side: Side) -> None:
    together = encoder.encode(mixed_parts(), side=side)
    alone = [encoder.encode([part], side=side) for part in mixed_parts()]
    np.testing.assert_allclose(together.vectors, np.concatenate([each.vectors for each in alone]), atol=2e-2)
    cosines = np.einsum("nd,nd->n", together.vectors, np.concatenate([each.vectors for each in alone]))
    np.testing.assert_allclose(cosines, np.einsum("nd,nd->n", together.vectors, together.vectors), rtol=2e-3)
    np.testing.assert_allclose(together.raw, np.concatenate([each.raw for each in alone]), atol=1e-5)


def test_raw_rows_are_unit_for_pictures_and_zero_for_texts(encoder: Encoder) -> None:
    if encoder.description.raw_dimension == 0:
        assert encoder.encode(mixed_parts(), side="document").raw.size == 0
        return
    lengths = np.linalg.norm(encoder.encode(mixed_parts(), side="document").raw, axis=1)
    np.testing.assert_allclose(lengths, [0, 1, 0, 1, 0, 0], atol=1e-3)


def test_a_copy_of_a_document_is_the_best_answer_to_it(encoder: Encoder) -> None:
    documents: list[Part] = [PicturePart(shape(colour)) for colour in ("crimson", "gold", "navy", "green")]
    scores = _scores(encoder, documents, documents)
    assert scores.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_like_pictures_are_nearer_than_unlike_ones(encoder: Encoder) -> None:
    blurred = PicturePart(shape().filter(ImageFilter.GaussianBlur(1)).resize((90, 68)))
    other = PicturePart(Image.linear_gradient("L").convert("RGB"))
    scores = _scores(encoder, [PicturePart(shape())], [blurred, other])
    assert scores[0, 0] > scores[0, 1]


def test_like_texts_are_nearer_than_unlike_ones(encoder: Encoder) -> None:
    documents: list[Part] = [TextPart("a red apple on a tree"), TextPart("monthly invoice for server rent")]
    scores = _scores(encoder, [TextPart("A red apple on a tree!")], documents)
    assert scores[0, 0] > scores[0, 1]


def test_the_stamp_names_model_revision_and_precision(encoder: Encoder) -> None:
    description = encoder.description
    assert description.stamp == f"{description.name}@{description.revision}/{description.precision}"
    assert re.fullmatch(r"[^@\s]+@[\w.-]+/(float32|bfloat16|int8)", description.stamp)


def test_the_description_is_frozen(encoder: Encoder) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        encoder.description.dimension = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        encoder.description.calibration["text>text"] = None  # type: ignore[index]


def test_every_kind_of_pair_is_calibrated(encoder: Encoder) -> None:
    kinds = {"text>text", "text>image", "image>text", "image>image"}
    kinds |= {"image>raw"} if encoder.description.raw_dimension else set()
    assert set(encoder.description.calibration) == kinds
    for calibration in encoder.description.calibration.values():
        assert calibration.spread > 0
        assert -1 < calibration.mean < 1


def test_a_short_text_is_one_passage_and_a_long_one_at_most_eight(encoder: Encoder) -> None:
    assert encoder.passages("a short text") == ["a short text"]
    sentence = "The quick brown fox jumps over the lazy dog. "
    passages = encoder.passages(sentence * 500)
    assert 2 <= len(passages) <= 8
    assert " ".join(passages).split() == (sentence * 500).split()


GOLDEN_TEXT = {
    "hash": [0.0, -0.04344, 0.10861, -0.10861, -0.16189],
    "lite": [-0.02664, 0.05036, -0.08837, 0.04708, -0.01466],
}
GOLDEN_PICTURE = {
    "hash": [-0.00195, 0.24155, 0.13112, -0.1029, 0.09962],
    "lite": [-0.05611, 0.05441, -0.07413, -0.06812, -0.01107],
}


@pytest.mark.parametrize("name", ["hash", "lite"])
def test_the_first_five_numbers_never_change_under_one_stamp(
    name: str, loaded: Callable[[str], Encoder]
) -> None:
    encoded = loaded(name).encode([TextPart("a red apple"), PicturePart(shape())], side="document")
    # Other processors round int8 networks a little differently; another model would be far off.
    np.testing.assert_allclose(encoded.vectors[0, :5], GOLDEN_TEXT[name], atol=1e-4)
    np.testing.assert_allclose(encoded.vectors[1, :5], GOLDEN_PICTURE[name], atol=5e-3)


def test_the_cache_wraps_without_changing_the_stamp(tmp_path: Path) -> None:
    plain = load_encoder("hash")
    cached = load_encoder("hash", cache=FolderVectorStore(str(tmp_path)))
    assert isinstance(cached, CachedEncoder)
    assert cached.description == plain.description


def _scores(encoder: Encoder, queries: list[Part], documents: list[Part]) -> np.ndarray:
    left = encoder.encode(queries, side="query").vectors
    return left @ encoder.encode(documents, side="document").vectors.T
