"""Lists in which chance decides between neighbours, so that clicks tell what position does.

Only in some sessions, whole sessions, and by the query id: the same query gets the same list again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from streams.events.queries import Hit


def explores(session: str, share: float) -> bool:
    """Whether chance takes part in the lists of a session."""
    digest = hashlib.blake2b(session.encode(), digest_size=8, person=b"explores").digest()
    return int.from_bytes(digest) < share * 2**64


def shuffled(hits: Sequence[Hit], query_id: str) -> tuple[list[Hit], list[int]]:
    """The hits with chance between the two of each pair, and the upper positions of the pairs.

    Pairs begin at the first or at the second hit, by chance too, so that all neighbours are compared.
    """
    digest = hashlib.blake2b(query_id.encode(), digest_size=8, person=b"shuffled").digest()
    random = np.random.default_rng(int.from_bytes(digest))
    ordered, first = list(hits), int(random.integers(2))
    uppers = range(first, len(hits) - 1, 2)
    for upper in uppers:
        if random.integers(2):
            ordered[upper], ordered[upper + 1] = ordered[upper + 1], ordered[upper]
    moved = [hit.model_copy(update={"position": place}) for place, hit in enumerate(ordered, start=1)]
    return moved, [upper + 1 for upper in uppers]
