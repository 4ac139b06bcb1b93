"""Lists in which chance decides between neighbours, so that clicks tell what position does.

Only in some sessions, whole sessions, and by the query id: the same query gets the same list again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.places import number_of, place_of
from streams.events.queries import Hit


def explores(session: str, share: float) -> bool:
    """Whether chance takes part in the lists of a session."""
    return place_of(session, "explores") < share


def shuffled(hits: Sequence[Hit], query_id: str) -> tuple[list[Hit], list[int]]:
    """The hits with chance between the two of each pair, and the upper positions of the pairs.

    Pairs begin at the first or at the second hit, by chance too, so that all neighbours are compared.
    """
    random = np.random.default_rng(number_of(query_id, "shuffled"))
    ordered, first = list(hits), int(random.integers(2))
    uppers = range(first, len(hits) - 1, 2)
    for upper in uppers:
        if random.integers(2):
            ordered[upper], ordered[upper + 1] = ordered[upper + 1], ordered[upper]
    moved = [hit.model_copy(update={"position": place}) for place, hit in enumerate(ordered, start=1)]
    return moved, [upper + 1 for upper in uppers]
