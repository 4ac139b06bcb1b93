"""The same picture is never encoded twice, and a cached vector is the fresh one to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from models.encoders import CachedEncoder, Encoded, FolderVectorStore, Part, PicturePart, Side, TextPart
from models.encoders.cached import picture_key
from models.encoders.hash import HashEncoder


class Counting:
    """A real encoder that counts the parts it was given."""

    def __init__(self, dimension: int = 64) -> None:
        self._encoder = HashEncoder(dimension)
        self.description = self._encoder.description
        self.passages = self._encoder.passages
        self.encoded = 0

    def encode(self, parts: Sequence[Part], *, side: Side) -> Encoded:
        self.encoded += len(parts)
        return self._encoder.encode(parts, side=side)


def picture(colour: str, content_hash: str | None = None) -> PicturePart:
    return PicturePart(Image.new("RGB", (20, 10), colour), content_hash)


def test_a_picture_is_encoded_once_in_one_batch_and_over_batches() -> None:
    inner = Counting()
    encoder = CachedEncoder(inner)
    encoder.encode([picture("red"), picture("blue"), picture("red")], side="document")
    encoder.encode([picture("blue")], side="document")
    assert inner.encoded == 2


def test_a_deleted_vector_is_encoded_again(tmp_path: Path) -> None:
    store, inner = FolderVectorStore(str(tmp_path)), Counting()
    CachedEncoder(inner, store).encode([picture("red", "0a1b")], side="document")
    for _ in range(2):
        store.delete(picture_key(inner.description.stamp, "document", "0a1b"))
    CachedEncoder(inner, store).encode([picture("red", "0a1b")], side="document")
    assert inner.encoded == 2


def test_a_store_remembers_over_restarts(tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    store = FolderVectorStore(str(tmp_path))
    before = CachedEncoder(first, store).encode([picture("red"), TextPart("red")], side="document")
    after = CachedEncoder(second, store).encode([picture("red"), TextPart("red")], side="document")
    assert second.encoded == 1, "only the text is encoded again"
    np.testing.assert_array_equal(before.vectors, after.vectors)
    np.testing.assert_array_equal(before.raw, after.raw)


def test_hits_and_misses_are_rounded_alike() -> None:
    encoder = CachedEncoder(Counting())
    miss, hit = (encoder.encode([picture("red")], side="query") for _ in range(2))
    np.testing.assert_array_equal(miss.vectors, hit.vectors)
    np.testing.assert_array_equal(miss.vectors, miss.vectors.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(miss.raw, hit.raw)


def test_the_given_content_hash_is_the_key() -> None:
    inner = Counting()
    encoder = CachedEncoder(inner)
    encoder.encode([picture("red", "aa"), picture("red", "bb"), picture("red", "aa")], side="document")
    assert inner.encoded == 2


def test_query_and_document_of_one_picture_are_kept_apart() -> None:
    inner = Counting()
    encoder = CachedEncoder(inner)
    encoder.encode([picture("red")], side="document")
    encoder.encode([picture("red")], side="query")
    assert inner.encoded == 2


def test_query_texts_are_remembered_in_memory_and_document_texts_are_not(tmp_path: Path) -> None:
    inner = Counting()
    encoder = CachedEncoder(inner, FolderVectorStore(str(tmp_path)))
    for side in ("query", "query", "document", "document"):
        encoder.encode([TextPart("a red bicycle")], side=side)
    assert inner.encoded == 3
    assert list(tmp_path.iterdir()) == [], "texts never reach the store"


def test_encoders_of_another_stamp_do_not_share_vectors(tmp_path: Path) -> None:
    store = FolderVectorStore(str(tmp_path))
    CachedEncoder(Counting(64), store).encode([picture("red")], side="document")
    other = Counting(128)
    assert CachedEncoder(other, store).encode([picture("red")], side="document").vectors.shape == (1, 128)
    assert other.encoded == 1


def test_a_damaged_entry_is_encoded_again_and_mended(tmp_path: Path) -> None:
    store = FolderVectorStore(str(tmp_path))
    expected = CachedEncoder(Counting(), store).encode([picture("red")], side="document")
    (entry,) = tmp_path.rglob("*.safetensors")
    whole = entry.read_bytes()
    for damaged in (b"", whole[:20], whole[:-7], b"\xff" * len(whole)):
        entry.write_bytes(damaged)
        inner = Counting()
        again = CachedEncoder(inner, store).encode([picture("red")], side="document")
        assert inner.encoded == 1
        np.testing.assert_array_equal(again.vectors, expected.vectors)
        assert entry.read_bytes() == whole


def test_the_memory_holds_no_more_than_it_may() -> None:
    inner = Counting()
    encoder = CachedEncoder(inner, pictures_in_memory=1)
    for colour in ("red", "blue", "red"):
        encoder.encode([picture(colour)], side="document")
    assert inner.encoded == 3


def test_a_store_leaves_no_unfinished_files_and_answers_none_for_unknown_keys(tmp_path: Path) -> None:
    store = FolderVectorStore(f"file://{tmp_path}")
    assert store.get("picture/a") is None
    store.put("picture/a", b"one")
    store.put("picture/a", b"two")
    assert store.get("picture/a") == b"two"
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".safetensors"]
