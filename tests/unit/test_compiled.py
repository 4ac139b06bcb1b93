from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from state.compiled import compiled, observe, publish


@compiled
def written(line: NDArray[np.int64], table: NDArray[np.int32], node: int) -> int:
    publish(line, 2, 7)
    publish(table, (node, 1), -5)
    publish(table, (node, node), 2**31 - 1)
    return observe(line, 2) + observe(table, (node, 1))


def test_numbers_of_either_size_are_published_where_they_belong_and_nothing_beside_them_changes() -> None:
    line, table = np.zeros(4, dtype=np.int64), np.full((4, 3), 9, dtype=np.int32)
    assert written(line, table, 2) == 2
    assert line.tolist() == [0, 0, 7, 0]
    assert table.tolist() == [[9, 9, 9], [9, 9, 9], [9, -5, 2**31 - 1], [9, 9, 9]]
