"""Which epoch a searcher serves that starts before it has read up to the switch to the active one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from agents.codebook_log import Codebooks
from agents.searcher import epoch_to_begin_with
from state.live_index import LiveDocument, LiveIndex

DIMENSION = 4


@pytest.mark.parametrize(
    ("epochs_of_documents", "fitted", "active", "expected"),
    [
        ([(1,), (1, 2)], (1, 2), 2, 1),  # it stopped while ids of epoch 2 were given
        ([(1, 2), (1, 2)], (1, 2), 2, 1),
        ([(0, 1), (0, 1)], (1,), 1, 0),
        ([(0,), (0,)], (), 0, 0),
        ([(0,), (0, 1)], (1, 2), 2, 0),  # it missed the switch before, too
        ([(2,), (2, 3)], (2, 3), 3, 2),
    ],
)
def test_it_goes_on_with_the_epoch_before_when_all_documents_have_ids_in_it(
    epochs_of_documents: Sequence[Sequence[int]], fitted: Sequence[int], active: int, expected: int
) -> None:
    index = LiveIndex(DIMENSION)
    vector = np.ones(DIMENSION, dtype=np.float32)
    index.apply(
        LiveDocument(f"d{n}", dict.fromkeys(epochs, n), [("fused", vector)], "text")
        for n, epochs in enumerate(epochs_of_documents)
    )
    codebooks = Codebooks(dict.fromkeys(fitted), active=active)  # type: ignore[arg-type]
    assert epoch_to_begin_with(index, codebooks) == expected
