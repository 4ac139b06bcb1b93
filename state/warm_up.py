"""Compiling before the first document and the first query: they would wait seconds for it."""

from __future__ import annotations

import numpy as np

from state.dense.index import compile_dense
from state.field_numbers import compile_numbers
from state.field_texts import compile_texts
from state.live_index import LiveDocument, LiveIndex, Removal
from state.slot_table import compile_slot_table
from state.vector_rows import ScoringPart, ScoringQuery
from streams.semantic_id import Leaf, SemanticId

_DIMENSION = 32
_EPOCH = 1


def warm_up() -> None:
    """Run everything that is compiled once, on an index of its own. From the disk it is read in a second or two."""
    compile_numbers()
    compile_texts()
    compile_dense()
    compile_slot_table()
    index = LiveIndex(_DIMENSION)
    index.activate(_EPOCH)
    path = index.path(_EPOCH)
    vector = np.ones(_DIMENSION, dtype=np.float32)
    leaves = np.array([Leaf(0, 0, cluster).packed() for cluster in range(3)])
    index.set_tree(_EPOCH, leaves, np.stack([vector * scale for scale in (1, 2, 3)]))
    for cluster in (0, 1):
        ids = {_EPOCH: SemanticId(0, 0, cluster, 0).packed()}
        index.apply([LiveDocument("a", ids, [("text", vector)], "text", tags=["x"], fields={"n": 1})])
    index.set_tree(_EPOCH, leaves[:1], vector[None, :])
    index.repair(8)
    query = ScoringQuery([ScoringPart(vector)]).arrays(_DIMENSION)
    with index.reading():
        slots, _ = index.score(query)
        index.parts(query, slots)
        found = path.search(index.rows_arrays, query, vector, leaves=2, members=9, shortlist=4)
        path.probabilities(index.rows_arrays, query, vector, found.slots)
    index.apply([Removal("a")])
    index.close_leaf(_EPOCH, int(leaves[0]))
