"""What a person chose before, as a part of a query: attention over documents, which may also look at none of them.

Attention with a zero vector among what it looks at: Ai, Hill, Vishwanathan and Croft, "A Zero Attention Model for
Personalized Product Search", 2019. Somebody whose documents have nothing to do with a query gets the answer that
everybody gets. Measured by `python -m benchmarks.learning.personal`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TEMPERATURE = 0.5
"""A document that fits by so much more counts e times as much; in spreads of random pairs, as FITS."""
FITS = 3.0
"""A single document that scores so much for the query counts half."""


def attention(fits: Floats, *, temperature: float = TEMPERATURE, least: float = FITS) -> Floats:
    """How much each document counts (n,), from its calibrated scores for the query (n,). The sum is below 1:
    exp(s / t) / (exp(least / t) + the sum of exp(s / t))."""
    raised = np.append(fits, least).astype(np.float64) / temperature
    weights = np.exp(raised - raised.max())
    found: Floats = (weights[:-1] / weights.sum()).astype(np.float32)
    return found


def personal_part(query: Floats, documents: Floats, counts: Floats, *, weight: float) -> Floats:
    """What is added to a query (d,): the sum of documents (n, d) by how much each counts (n,).

    Each is made as long as the query, so the length of the sum is at most `weight` times that of the query, which
    turns by at most arcsin(weight). Zeros without documents.
    """
    added = np.float32(weight) * (scales(query, documents) * counts) @ documents
    return np.asarray(added, dtype=np.float32)


def scales(query: Floats, documents: Floats) -> Floats:
    """By what documents (n, d) are multiplied (n,) to be as long as the query (d,); 0 for zeros."""
    lengths = np.linalg.norm(documents, axis=1)
    found: Floats = np.divide(
        np.linalg.norm(query), lengths, out=np.zeros(len(documents), dtype=np.float32), where=lengths > 0
    )
    return found
