"""What an adapter is trained on: documents as they stand, and queries with the documents that they should find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Documents:
    """Vectors of documents, which training never moves: a row scores (query · vector - mean) / spread.

    vectors: (m, d); means and spreads: (m,), of the kind of vector; owners: (m,), the number of the document that
    a row belongs to: one may have several.
    """

    vectors: Floats
    means: Floats
    spreads: Floats
    owners: Rows

    def __len__(self) -> int:
        return len(self.vectors)

    def scores(self, queries: Floats) -> Floats:
        """(n, d) -> (n, m)."""
        return np.asarray((queries @ self.vectors.T - self.means) / self.spreads, dtype=np.float32)


@dataclass(frozen=True)
class Pairs:
    """Queries (n, d), rows of `Documents` that they should find (n,), and weights (n,)."""

    queries: Floats
    targets: Rows
    weights: Floats

    def __len__(self) -> int:
        return len(self.queries)

    def rows(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Pairs:
        """Some of them."""
        return Pairs(self.queries[rows], self.targets[rows], self.weights[rows])

    @classmethod
    def none(cls, dimension: int) -> Pairs:
        return cls(
            np.zeros((0, dimension), dtype=np.float32),
            np.zeros(0, dtype=np.int64),
            np.zeros(0, dtype=np.float32),
        )


@dataclass(frozen=True)
class Lesson:
    """All that one training sees.

    clicks: with what people chose, rephrasings at half weight. titles, tags: texts of the catalogue with their own
    documents. asked: queries of the log, clicked or not, (n, d). held_out: clicks of sessions that are left out.
    """

    documents: Documents
    clicks: Pairs
    titles: Pairs
    tags: Pairs
    asked: Floats
    held_out: Pairs

    def arrays(self) -> Iterator[NDArray[np.generic]]:
        """All numbers, in a fixed order: for a fingerprint."""
        yield from (
            self.documents.vectors,
            self.documents.means,
            self.documents.spreads,
            self.documents.owners,
        )
        for pairs in (self.clicks, self.titles, self.tags, self.held_out):
            yield from (pairs.queries, pairs.targets, pairs.weights)
        yield self.asked


def nearest_rows(documents: Documents, queries: Floats, wanted: Sequence[Rows]) -> Rows:
    """Of the rows that each query may want, the one that scores best now, (n,)."""
    best = np.empty(len(queries), dtype=np.int64)
    for place, (query, rows) in enumerate(zip(queries, wanted, strict=True)):
        if len(rows) == 1:
            best[place] = rows[0]
            continue
        scores = (documents.vectors[rows] @ query - documents.means[rows]) / documents.spreads[rows]
        best[place] = rows[int(np.argmax(scores))]
    return best
