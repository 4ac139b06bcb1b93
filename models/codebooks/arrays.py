"""The arrays that codebooks work on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""(n, d), compared by squared distance."""
AnyVectors = NDArray[np.float16] | NDArray[np.float32]
Codes = NDArray[np.int64]
"""Packed leaf codes of 24 bits (see `streams.semantic_id.Leaf`)."""
Rows = NDArray[np.int64]
"""Rows of another array."""
Documents = NDArray[np.int64]
"""Numbers of documents, as whoever asks has numbered them."""
