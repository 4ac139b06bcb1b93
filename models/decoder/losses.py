"""What a decoder is trained by: three terms, each of which can be switched off by its weight.

    loss = generation · G + own · O + contrastive · C + alignment · A

G: cross-entropy of the path probabilities against the exact scorer's softmax over leaves (KL but for a constant).
O: the same for the path of the query's own document, from the query with noise added.
C: the leaves of the answers against those of the documents that come next (listwise softmax over whole paths).
A: the heads of a query and of its document should point the same way (1 - cosine): for another kind of query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from models.decoder.levels import Level
from models.decoder.network import DecoderNetwork


@dataclass(frozen=True)
class LossWeights:
    """The weight of each term; 0 leaves it out, and what it costs."""

    generation: float = 1.0
    own: float = 0.0
    contrastive: float = 0.0
    alignment: float = 0.0


class Paths:
    """The tree as tensors on the device of the network: rows of nodes on the path to each leaf."""

    def __init__(self, levels: Sequence[Level], *, device: torch.device) -> None:
        nodes = torch.arange(len(levels[-1].prefixes))
        rows = []
        for level in reversed(levels):
            rows.append(nodes.to(device))
            nodes = torch.from_numpy(level.parents)[nodes]
        self.nodes = rows[::-1]
        self.parents = [torch.from_numpy(level.parents).to(device) for level in levels]
        self.counts = [torch.from_numpy(level.counts).to(device) for level in levels]


class PathScores:
    """log p of whole paths for one batch of heads (b, 3, h); work is shared by all that is asked of it."""

    def __init__(self, network: DecoderNetwork, heads: torch.Tensor, paths: Paths) -> None:
        self._paths = paths
        self._logits = []  # (m, b) each: nodes come first, so that siblings are rows of one block
        self._sums = []  # (p, b) each: log of the sum over the children of each parent
        for level, (embeddings, biases) in enumerate(zip(network.embeddings, network.biases, strict=True)):
            logits = embeddings @ heads[:, level].T + biases[:, None]
            self._logits.append(logits)
            self._sums.append(_sibling_log_sum(logits, paths.parents[level], paths.counts[level]))

    def of(self, leaves: torch.Tensor) -> torch.Tensor:
        """log p of leaves by row, (b, k) -> (b, k); -inf where the row is -1."""
        known = leaves.clamp(min=0)
        column = torch.arange(len(leaves), device=leaves.device)[:, None]
        total = torch.zeros(leaves.shape, device=leaves.device)
        for logits, sums, nodes, parents in zip(
            self._logits, self._sums, self._paths.nodes, self._paths.parents, strict=True
        ):
            rows = nodes[known]
            total = total + logits[rows, column] - sums[parents[rows], column]
        return total.masked_fill(leaves < 0, -torch.inf)


def _sibling_log_sum(logits: torch.Tensor, parents: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """logits (m, b) -> log of the sum of exp over each parent's children, (p, b)."""
    peak = torch.segment_reduce(logits.detach(), "max", lengths=counts, axis=0)
    sums = torch.zeros_like(peak).index_add(0, parents, torch.exp(logits - peak[parents]))
    return peak + torch.log(sums)


def cross_entropy(scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """- sum of weights · log p, mean over the batch; both (b, k). A weight of 0 hides -inf."""
    return -(weights * scores.masked_fill(weights == 0, 0.0)).sum(dim=1).mean()


def contrast(answers: torch.Tensor, others: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the answers' scores (b, t) in a softmax over answers and others (b, k)."""
    total = torch.logsumexp(torch.cat([answers, others], dim=1), dim=1, keepdim=True)
    return cross_entropy(answers - total, weights)


def misalignment(queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
    """1 - cosine of heads (b, 3, h), mean over batch and levels. The documents' side does not move."""
    return 1.0 - torch.nn.functional.cosine_similarity(queries, documents.detach(), dim=2).mean()
