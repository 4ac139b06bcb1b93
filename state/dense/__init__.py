"""The dense path: a graph of near neighbours that is searched while it changes.

`DenseIndex` answers, `DenseFollower` keeps it up with the documents. May import `streams`, `state.compiled` and
`state.readers`.
Read first: `index.py`, then `graph.py`, `walking.py`, `linking.py` and `unlinking.py`.
"""

from state.dense.follower import DenseFollower
from state.dense.index import DenseIndex
from state.dense.path import DensePath, ExactScan

__all__ = ["DenseFollower", "DenseIndex", "DensePath", "ExactScan"]
