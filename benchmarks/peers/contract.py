"""What an engine is for the benchmarks: rows of unit vectors in, the rows nearest to a query out."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
    Rows = NDArray[np.int64]


class Peer(Protocol):
    """One engine with one setting, in this process. Rows are numbered; larger inner products are nearer."""

    name: ClassVar[str]
    settings: ClassVar[str]  # what was chosen, for the reader
    efforts: ClassVar[tuple[int, ...]]  # operating points of `search`, from cheap to dear
    visible_by: ClassVar[str]  # the documented call after which inserted rows are found
    deletes: ClassVar[bool]
    concurrent: ClassVar[bool]  # whether it says that one thread may search while another inserts

    def build(self, vectors: Vectors, folder: Path) -> None:
        """Index rows 0 ... n-1 and keep the index in an empty folder; leaves it open."""
        ...

    def open(self, folder: Path) -> None:
        """Open what `build` kept."""
        ...

    def search(self, query: Vectors, count: int, effort: int) -> Rows:
        """The `count` nearest rows to one query (d,), best first; fewer when fewer were found."""
        ...

    def insert(self, first: int, vectors: Vectors) -> None:
        """Add rows first, first + 1, ... in one call."""
        ...

    def delete(self, rows: Rows) -> None:
        """Take out rows. Only where `deletes`."""
        ...

    def make_visible(self) -> None:
        """What its documentation asks for before inserted rows are found; nothing where that is at once."""
        ...

    def beside(self) -> None:
        """What the engine would do in the background by now; called after each insert, its time is kept apart."""
        ...

    def tidy(self) -> None:
        """What the documentation asks for after many changes: merging, indexing of what is scanned until then."""
        ...
