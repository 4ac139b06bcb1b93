"""open_clip models: what is said when weights or names are missing, and what is kept between runs."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from PIL import Image

from models.encoders import PicturePart, TextPart, load_encoder
from models.encoders.open_clip import OpenClipEncoder
from models.encoders.open_clip_texts import TextNetwork
from models.encoders.open_clip_weights import load_weights
from streams.errors import ModelError
from tests.contract.test_encoders import register_tiny_model

PARTS = [
    TextPart("a red bicycle"),
    PicturePart(Image.linear_gradient("L").convert("RGB")),
    TextPart("ein Rad"),
]


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path) -> None:
    register_tiny_model(tmp_path)


def tiny_model(
    precision: str | None = "float32", cache: Path | None = None, seed: int = 3
) -> OpenClipEncoder:
    return OpenClipEncoder.load("trieflow-tiny", f"random:{seed}", precision=precision, cache=cache)


def test_without_a_network_the_message_says_what_is_missing_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"ViT-B-32/laion2b_s34b_b79k cannot be loaded.*HF_HOME"):
        load_encoder("open_clip:ViT-B-32/laion2b_s34b_b79k")


@pytest.mark.parametrize("name", ["open_clip:no-such-model/random:1", "open_clip:ViT-B-32/no-such-tag"])
def test_unknown_models_and_tags_are_model_errors(name: str) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_encoder(name)


def test_unknown_precisions_are_refused_with_the_choices() -> None:
    with pytest.raises(ModelError, match="float32, bfloat16, int8"):
        load_encoder("open_clip:trieflow-tiny/random:1@int4")


def test_the_registry_understands_model_tag_and_precision() -> None:
    encoder = load_encoder("open_clip:trieflow-tiny/random:3@bfloat16")
    assert encoder.description.stamp.startswith("open_clip:trieflow-tiny:random:3@")
    assert encoder.description.precision == "bfloat16"


def test_other_weights_have_another_stamp_and_the_same_weights_the_same() -> None:
    first, second, other = tiny_model(), tiny_model(), tiny_model(seed=4)
    assert first.description == second.description
    assert other.description.stamp != first.description.stamp
    same = [encoder.encode(PARTS, side="query").vectors for encoder in (first, second)]
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_lower_precisions_keep_the_direction_of_vectors(tmp_path: Path, precision: str) -> None:
    exact = tiny_model().encode(PARTS, side="document").vectors
    rounded = tiny_model(precision, tmp_path).encode(PARTS, side="document").vectors
    assert np.einsum("nd,nd->n", exact, rounded).min() > 0.99


def test_an_int8_export_is_made_once_and_leaves_nothing_unfinished(tmp_path: Path) -> None:
    first = tiny_model("int8", tmp_path).encode(PARTS, side="document").vectors
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.onnx")}
    assert sorted(path.name for path in files) == ["picture.int8.onnx", "text-of-any-length.int8.onnx"]
    second = tiny_model("int8", tmp_path).encode(PARTS, side="document").vectors
    np.testing.assert_array_equal(first, second)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.onnx")} == files


def test_a_text_longer_than_the_context_is_cut_and_not_refused() -> None:
    encoder = tiny_model()
    long = "bicycle " * 200
    assert np.isfinite(encoder.encode([TextPart(long)], side="query").vectors).all()
    assert 2 <= len(encoder.passages(long)) <= 8


def test_texts_without_their_padding_have_the_same_vectors() -> None:
    import torch

    weights = load_weights("trieflow-tiny", "random:3")
    texts = TextNetwork(weights.network)
    tokens = weights.tokens(["fox", "a red bicycle in the snow", "bicycle " * 200])
    with torch.inference_mode():
        whole = weights.network.encode_text(tokens)
        short, longer = texts.cut(tokens[:1]), texts.cut(tokens[:2])
        assert short.shape[1] < longer.shape[1] < texts.cut(tokens).shape[1] == tokens.shape[1]
        torch.testing.assert_close(texts(short), whole[:1], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(texts(longer), whole[:2], rtol=1e-4, atol=1e-5)


def test_an_int8_export_takes_texts_of_any_length(tmp_path: Path) -> None:
    exact, rounded = tiny_model(), tiny_model("int8", tmp_path)
    for text in ("", "fox", "a red bicycle in the snow", "bicycle " * 200):
        vectors = [each.encode([TextPart(text)], side="query").vectors[0] for each in (exact, rounded)]
        assert np.dot(*vectors) > 0.99, text


def test_loading_leaves_the_random_numbers_of_others_alone() -> None:
    import torch

    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    tiny_model()
    assert torch.equal(torch.rand(3), expected)
