"""Which leaf each document is in, and who is in a leaf: what decisions are taken on, and what they change."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pyroaring import BitMap

from models.codebooks import Codes, Decision, Documents


class Membership:
    """Documents by number (below 2³²), each in one leaf."""

    def __init__(self) -> None:
        self._leaf_of: dict[int, int] = {}
        self._members: dict[int, BitMap] = {}

    def put(self, documents: Documents, leaves: Codes) -> None:
        """Put documents (m,) into packed leaves (m,); each leaves the one that it was in."""
        for document, leaf in zip(documents.tolist(), leaves.tolist(), strict=True):
            self._leave(document)
            self._leaf_of[document] = leaf
            self._members.setdefault(leaf, BitMap()).add(document)

    def drop(self, documents: Iterable[int]) -> None:
        """Documents that are deleted. Unknown ones are passed over."""
        for document in documents:
            self._leave(document)

    def apply(self, decision: Decision) -> None:
        """Do to the documents what a decision says."""
        self.put(decision.documents, decision.to_leaves)

    def leaf_of(self, document: int) -> int | None:
        """The packed leaf of a document."""
        return self._leaf_of.get(document)

    def documents(self, leaf: int) -> Documents:
        """The documents of a leaf, ascending, (m,)."""
        return np.array(self._members.get(leaf, ()), dtype=np.int64)

    def counts(self) -> dict[int, int]:
        """Documents by packed leaf; leaves without any are left out."""
        return {leaf: len(members) for leaf, members in self._members.items()}

    def __len__(self) -> int:
        """How many documents there are."""
        return len(self._leaf_of)

    def _leave(self, document: int) -> None:
        leaf = self._leaf_of.pop(document, None)
        if leaf is None:
            return
        self._members[leaf].remove(document)
        if not self._members[leaf]:
            del self._members[leaf]
