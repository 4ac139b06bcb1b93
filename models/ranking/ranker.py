"""All that one training learned, as it serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.adapter.adapter import FILE, Floats, QueryAdapter
from models.ranking.weights import Ranking
from streams.errors import ModelError


@dataclass(frozen=True)
class Ranker:
    """An adapter that moves typed queries, None for none, and weights of fine-ranking. The default does nothing."""

    adapter: QueryAdapter | None = None
    ranking: Ranking = field(default_factory=Ranking)

    def moved(self, queries: Floats) -> Floats:
        """Typed queries, (n, d) or (d,), as the adapter moves them."""
        return queries if self.adapter is None else self.adapter(queries)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], *, dimension: int) -> Ranker:
        """Of a bundle of the trainer. Raises ModelError when it cannot be used as a whole."""
        adapter = QueryAdapter.from_files(files, dimension=dimension)
        if adapter is None:
            raise ModelError(f"there is no {FILE} in it")
        return cls(adapter, Ranking.from_files(files))

    def to_files(self) -> dict[str, bytes]:
        """The inverse of `from_files`."""
        adapter = {} if self.adapter is None else {FILE: self.adapter.to_bytes()}
        return adapter | self.ranking.to_files()


NOTHING_LEARNED = Ranker()
