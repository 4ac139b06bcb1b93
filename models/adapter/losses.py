"""What an adapter is trained by: terms, each of which a weight of 0 leaves out, with what it costs.

    loss = clicks · C + replay · R + identity · I + distillation · D + alignment · A + generation · G

C: softmax over the documents of a batch, and over documents that scored high without being chosen (hard negatives).
R: the same for texts of the catalogue and their own documents: what was known is said again (experience replay).
I: squared distance between catalogue texts before and after: what clicks do not speak of should stay where it was.
D: cross-entropy with the scores before training, as a softmax over documents, on queries of the log.
A: 1 - cosine between a moved query and the document that was chosen.
G: - log p(leaf | query), a softmax over centroids of a tree's leaves, for the leaf of what was chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class LossWeights:
    """The weight of each term. The defaults are those that the ablation in `benchmarks/README.md` speaks for."""

    clicks: float = 1.0
    replay: float = 1.0
    identity: float = 10.0
    distillation: float = 0.0
    alignment: float = 0.0
    generation: float = 0.0


@dataclass(frozen=True)
class Targets:
    """Documents as tensors: vectors (n, d), means and spreads (n,), owners (n,)."""

    vectors: torch.Tensor
    means: torch.Tensor
    spreads: torch.Tensor
    owners: torch.Tensor

    def logits(self, queries: torch.Tensor, temperature: float) -> torch.Tensor:
        """(b, d) -> (b, n). The temperature is in units of the inner product, where spreads are least."""
        scores = (queries @ self.vectors.T - self.means) / self.spreads
        return scores * (self.spreads.min() / temperature)


def choice(logits: torch.Tensor, targets: Targets, own: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Softmax cross-entropy (b, n) with the column `own` (b,) as the choice; weighted mean.

    Other columns of the same document are no rivals and do not count.
    """
    same = targets.owners[None, :] == targets.owners[own][:, None]
    same[torch.arange(len(own), device=own.device), own] = False
    losses = functional.cross_entropy(logits.masked_fill(same, -torch.inf), own, reduction="none")
    return (losses * weights).mean()


def distilled(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the logits after (b, n) with those before."""
    return functional.cross_entropy(after, before.softmax(dim=1))


def movement(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of unit vectors (b, d)."""
    return (functional.normalize(after, dim=1) - functional.normalize(before, dim=1)).pow(2).sum(dim=1).mean()


def misalignment(queries: torch.Tensor, documents: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """1 - cosine of queries and documents (b, d); weighted mean."""
    return ((1.0 - functional.cosine_similarity(queries, documents, dim=1)) * weights).mean()


def generation(
    queries: torch.Tensor,
    centroids: torch.Tensor,
    leaves: torch.Tensor,
    weights: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """- log p of leaves (b,) by a softmax of queries (b, d) over centroids (L, d); weighted mean."""
    losses = functional.cross_entropy(queries @ centroids.T / temperature, leaves, reduction="none")
    return (losses * weights).mean()
