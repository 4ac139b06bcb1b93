"""`lite`: the default encoder. CPU only, 16 languages, no torch; texts and pictures in one space.

Pictures: EfficientNet-Lite0 in int8. Texts: the Universal Sentence Encoder multilingual v3, from its package. What
it can and cannot do stands in `docs/reference/lite-model-card.md`; `benchmarks/train_lite` makes its weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.encoders.base import Encoded, EncoderDescription, Part, PicturePart, Side, TextPart, Vectors
from models.encoders.lite_head import DIMENSION, RAW_DIMENSION, TEXT_DIMENSION, LiteHead, raw_features
from models.encoders.lite_network import LiteNetwork
from models.encoders.lite_sentences import Sentences
from models.encoders.lite_weights.manifest import LiteManifest
from models.encoders.passages import split_passages

# The sentence encoder reads any length, but means blur: about a hundred words a vector.
_WINDOW = 600


class LiteEncoder:
    """See the module. Made by `load`; starts in about a second and holds about 200 MB."""

    def __init__(
        self, *, description: EncoderDescription, network: LiteNetwork, head: LiteHead, sentences: Sentences
    ) -> None:
        self.description = description
        self._network = network
        self._head = head
        self._sentences = sentences

    @classmethod
    def load(cls, *, threads: int = 1) -> LiteEncoder:
        """Load the weights that come with this package; `ModelError` where they are damaged or others."""
        manifest = LiteManifest.load()
        sentences = Sentences(threads=threads)
        manifest.check_sentences(sentences.encode([manifest.probe_text])[0])
        return cls(
            description=manifest.description(),
            network=LiteNetwork(manifest.network_path, threads=threads),
            head=LiteHead.from_tensors(manifest.tensors()),
            sentences=sentences,
        )

    def encode(self, parts: Sequence[Part], *, side: Side) -> Encoded:
        """(n, 513) vectors: 512 of unit length and the hub number (1 for a query); and (n, 1280) raw features."""
        vectors = np.zeros((len(parts), DIMENSION), dtype=np.float32)
        raw = np.zeros((len(parts), RAW_DIMENSION), dtype=np.float32)
        texts = [(row, part.text) for row, part in enumerate(parts) if isinstance(part, TextPart)]
        if texts:
            rows = [row for row, _ in texts]
            sentences = self._sentences.encode([text for _, text in texts])
            vectors[rows, :TEXT_DIMENSION] = self._head.texts(sentences)
        pictures = [(row, part.picture) for row, part in enumerate(parts) if isinstance(part, PicturePart)]
        if pictures:
            rows = [row for row, _ in pictures]
            outputs = self._network.run([picture for _, picture in pictures])
            joint = self._head.pictures(outputs)
            vectors[rows, :TEXT_DIMENSION] = joint
            vectors[rows, TEXT_DIMENSION:] = self._head.hub(joint)
            raw[rows] = raw_features(outputs)
        if side == "query":
            vectors[:, TEXT_DIMENSION] = 1.0
        return Encoded(vectors, raw)

    def as_query(self, vectors: Vectors) -> Vectors:
        """With 1 in place of the hub number, so that it corrects the documents and not the query."""
        queries = vectors.copy()
        queries[..., TEXT_DIMENSION] = 1.0
        return queries

    def passages(self, text: str) -> list[str]:
        """Passages of about 600 characters, a hundred words."""
        return split_passages(text, window=_WINDOW)
