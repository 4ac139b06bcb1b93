"""From a document event to content (fetch, check, hash), to parts to encode, to vectors: step 3 of a commit."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from agents.content_store import ContentStore
from agents.fetching import Fetcher
from models.encoders.base import Encoded, EncoderDescription, Part, PicturePart, TextPart
from models.pictures import PictureLimits, decode_picture, thumbnail
from streams.errors import DataError
from streams.events.assignments import Modality, StampedVector
from streams.events.documents import Document, GivenVector, ImageSource, VectorKind
from streams.settings import ContentSettings, IndexSettings

Vector = NDArray[np.float32]
KindedVector = tuple[VectorKind, Vector]


@dataclass(frozen=True)
class Content:
    """A document with everything that had to be fetched. `content_hash` covers all that changes its row."""

    document: Document
    pictures: tuple[bytes, ...]
    content_hash: str


def picture_bytes(image: ImageSource, *, fetcher: Fetcher, settings: ContentSettings, field: str) -> bytes:
    """The bytes of a picture, inline or fetched. Raises DataError with the field at fault."""
    if image.url is not None:
        try:
            return fetcher.fetch(image.url)
        except DataError as error:
            raise DataError(error.code, error.message, field=f"{field}.url") from error
    text = image.bytes or ""
    if len(text) > settings.inline_limit * 4 / 3 + 4:
        raise DataError(
            "too_large",
            f"inline bytes are over {settings.inline_limit}; send larger pictures by url",
            field=f"{field}.bytes",
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError("schema", f"the bytes are not base64: {error}", field=f"{field}.bytes") from error


def fetch_content(document: Document, *, stamp: str, fetcher: Fetcher, settings: ContentSettings) -> Content:
    """Fetch the pictures of a document and hash it all. Raises DataError."""
    if document.is_empty():
        raise DataError("empty_document", "a document needs at least one of title, text, images, vectors")
    pictures = tuple(
        picture_bytes(image, fetcher=fetcher, settings=settings, field=f"images.{position}")
        for position, image in enumerate(document.images)
    )
    return Content(document, pictures, _hash(document, pictures, stamp))


def _hash(document: Document, pictures: Sequence[bytes], stamp: str) -> str:
    body = document.model_dump(mode="json", exclude_none=True, exclude={"images"})
    body["images"] = [hashlib.sha256(data).hexdigest() for data in pictures]
    body["alts"] = [image.alt for image in document.images]
    body["stamp"] = stamp
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True)
class Prepared:
    """Parts to encode, in the order of `kinds`; or ready vectors, when the publisher brought them."""

    content: Content
    parts: tuple[Part, ...]
    kinds: tuple[VectorKind, ...]
    given: tuple[KindedVector, ...]
    image: str | None

    @property
    def modality(self) -> Modality:
        document = self.content.document
        has_text = bool((document.title or "").strip() or (document.text or "").strip())
        if document.images:
            return "mixed" if has_text else "image"
        return "text" if has_text else "vector"


class Preparer:
    """Turns content into parts of an encoder, and its answer into the vectors of a document."""

    def __init__(
        self,
        *,
        encoder: EncoderDescription,
        passages: Callable[[str], list[str]],
        store: ContentStore,
        content: ContentSettings,
        index: IndexSettings,
    ) -> None:
        self._encoder = encoder
        self._passages = passages
        self._store = store
        self._settings = content
        self._index = index
        self._limits = PictureLimits(max_pixels=content.max_pixels, max_frames=content.max_frames)

    def prepare(self, content: Content) -> Prepared:
        """Decode pictures, keep a thumbnail, split long texts. Raises DataError."""
        document = content.document
        given = tuple(self._given(v, position) for position, v in enumerate(document.vectors))
        if given and all(kind == "raw" for kind, _ in given):
            raise DataError(
                "schema", "raw features rerank; bring a vector to find by as well", field="vectors"
            )
        pictures = [self.picture(data, field=f"images.{n}") for n, data in enumerate(content.pictures)]
        image = self._keep_thumbnail(pictures[0]) if pictures else None
        if given:
            return Prepared(content, (), (), given, image)
        texts = self._passages(text) if (text := searchable_text(document)) else []
        text_kind: VectorKind = "text" if len(texts) == 1 else "passage"
        parts: list[Part] = [*pictures, *(TextPart(t, document.language) for t in texts)]
        kinds: list[VectorKind] = ["image" for _ in pictures]
        kinds += [text_kind for _ in texts]
        return Prepared(content, tuple(parts), tuple(kinds), (), image)

    def picture(self, data: bytes, *, field: str) -> PicturePart:
        """A decoded picture. Raises DataError with the field at fault."""
        try:
            picture = decode_picture(data, limits=self._limits)
        except DataError as error:
            raise DataError(error.code, error.message, field=field) from error
        return PicturePart(picture, hashlib.sha256(data).hexdigest())

    def vectors(self, prepared: Prepared, encoded: Encoded) -> list[StampedVector]:
        """All vectors of a document as the log carries them: each part's, raw features, the fused one."""
        vectors: list[KindedVector] = list(prepared.given)
        vectors += zip(prepared.kinds, encoded.vectors, strict=True)
        vectors += [
            ("raw", row)
            for kind, row in zip(prepared.kinds, encoded.raw, strict=True)
            if kind == "image" and len(row)
        ]
        if not any(kind == "fused" for kind, _ in vectors):
            vectors.append(("fused", self._fused(vectors)))
        return [StampedVector.of(self._encoder.stamp, kind, vector) for kind, vector in vectors]

    def _fused(self, vectors: Sequence[KindedVector]) -> Vector:
        """The weighted mean, scaled to the mean length of what went in: it chooses the leaf."""
        joint = [(kind, vector) for kind, vector in vectors if kind != "raw"]
        rows = np.stack([vector for _, vector in joint])  # (n, d)
        weights = np.array([self._weight(kind, joint) for kind, _ in joint], dtype=np.float32)
        mean = weights @ rows / max(float(weights.sum()), 1e-9)
        length = float(np.linalg.norm(mean))
        wanted = float(np.linalg.norm(rows, axis=1).mean())
        return mean * np.float32(wanted / length) if length > 1e-6 else rows[0]

    def _weight(self, kind: VectorKind, joint: Sequence[KindedVector]) -> float:
        weight = self._index.weight_image if kind == "image" else self._index.weight_title
        return weight / sum(1 for other, _ in joint if other == kind)

    def _given(self, vector: GivenVector, position: int) -> KindedVector:
        field = f"vectors.{position}"
        if vector.stamp != self._encoder.stamp:
            raise DataError(
                "bad_stamp",
                f"this index holds vectors of {self._encoder.stamp}, not {vector.stamp[:200]}",
                field=f"{field}.stamp",
            )
        array = _given_array(vector, field)
        raw = vector.kind == "raw"
        wanted = self._encoder.raw_dimension if raw else self._encoder.dimension
        if array.shape != (wanted,) or not np.isfinite(array).all():
            raise DataError("schema", f"a {vector.kind} vector has {wanted} finite numbers", field=field)
        return vector.kind, array

    def _keep_thumbnail(self, part: PicturePart) -> str:
        name = f"thumbnails/{part.content_hash}.webp"
        if self._store.get(name) is None:
            self._store.put(name, thumbnail(part.picture, self._settings.thumbnail_side))
        return self._store.url(name)


def _given_array(vector: GivenVector, field: str) -> Vector:
    if vector.values is not None:
        with np.errstate(over="ignore"):
            # Everything is kept as f16: what overflows there must not pass here.
            return np.asarray(vector.values, dtype=np.float64).astype(np.float16).astype(np.float32)
    try:
        data = base64.b64decode(vector.data or "", validate=True)
        return np.frombuffer(data, dtype="<f2").astype(np.float32)
    except (binascii.Error, ValueError) as error:
        raise DataError("schema", f"the data is not base64 f16: {error}", field=f"{field}.data") from error


def searchable_text(document: Document) -> str:
    """What the encoder reads of a document: title, text and the descriptions of its pictures."""
    pieces = [document.title, document.text, *(image.alt for image in document.images)]
    return "\n".join(piece.strip() for piece in pieces if piece and piece.strip())
