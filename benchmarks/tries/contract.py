"""What a constrained decoder is for the benchmark: ids in, the best ids of a query out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Codes = NDArray[np.int64]
    Scores = tuple[NDArray[np.float32], ...]


class TrieDecoder(Protocol):
    """Made from ids (n, depth), all different. All of them find the same ids for the same scores."""

    name: str

    def decode(self, scores: Scores, *, beam: int) -> Codes:
        """The best ids of each query, (queries, beam, depth), best first, -1 where there are no more.

        Beam search level by level: the `beam` best prefixes go on. `scores`: for each level (queries, codes of the
        level) log probabilities; that of an id is their sum in float32, from the first level on.
        """
        ...

    def insert(self, codes: Codes) -> None:
        """Put in ids (n, depth) that are not there; the next `decode` finds them."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory that hold the ids."""
        ...
