"""From clicks to an adapter: a loop that can be read from top to bottom, on CPU, CUDA, or several processes.

Under `torchrun` every process draws the same batches and computes its slice of them; since documents never move,
each slice sees all documents of the whole batch, and the weights come out as those of one process.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import orjson
import structlog
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from models.adapter.adapter import QueryAdapter
from models.adapter.data import Floats, Lesson, Pairs, Rows
from models.adapter.leaves import fit_leaves
from models.adapter.losses import LossWeights, Targets, choice, distilled, generation, misalignment, movement
from models.checkpoint import Checkpoint, Standing, copied
from streams.errors import ModelError

_ROUND = 30
"""Steps between two checkpoints."""
_EVALUATED = 1_024
_SEARCHED_AT_ONCE = 512
_SOURCES = ("titles", "tags", "asked", "clicks")

_log = structlog.get_logger()


@dataclass(frozen=True)
class AdapterOptions:
    """How to train; the defaults are those that `trieflow bench learning --ablation` speaks for.

    temperature: of the softmax over documents, as a cosine: times the usual lengths of queries and documents.
    batch: clicks a step; replay_batch: catalogue texts a step. epochs: passes over the clicks, within fewest and
    most steps. hard_negatives: documents for each click that scored high and were not chosen. curriculum: sources
    come in one after another (titles, tags, queries of the log, clicks) instead of all from the start.
    """

    seed: int = 0
    hidden: int = 256
    loss: LossWeights = field(default_factory=LossWeights)
    temperature: float = 0.05
    batch: int = 256
    replay_batch: int = 128
    epochs: int = 8
    fewest_steps: int = 60
    most_steps: int = 300
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    hard_negatives: int = 8
    curriculum: bool = False
    documents_per_leaf: int = 32


@dataclass(frozen=True)
class Progress:
    """Steps done of all, the mean loss of the last round, seconds left."""

    step: int
    steps: int
    loss: float
    seconds_left: float


@dataclass(frozen=True)
class Trained:
    """The adapter, what it was before training, and the loss on held-out clicks before and after each round."""

    adapter: QueryAdapter
    untrained: QueryAdapter
    held_out_losses: tuple[float, ...]


class AdapterNetwork(torch.nn.Module):  # type: ignore[misc]
    """`QueryAdapter` in torch: queries (b, d) -> (b, d)."""

    def __init__(self, *, dimension: int, hidden: int) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(dimension, hidden)
        self.outer = torch.nn.Linear(hidden, dimension, bias=False)
        torch.nn.init.zeros_(self.outer.weight)

    def forward(self, queries: torch.Tensor) -> torch.Tensor:
        lengths = queries.norm(dim=1, keepdim=True)
        units = queries / lengths.clamp(min=1e-12)
        hidden = self.inner(units * queries.shape[1] ** 0.5)
        moved = units + self.outer(torch.nn.functional.gelu(hidden, approximate="tanh"))
        return torch.nn.functional.normalize(moved.float(), dim=1) * lengths

    def adapter(self) -> QueryAdapter:
        arrays = (self.inner.weight, self.inner.bias, self.outer.weight)
        return QueryAdapter(*(array.detach().cpu().numpy().copy() for array in arrays))


def train_adapter(
    lesson: Lesson,
    *,
    options: AdapterOptions | None = None,
    checkpoint: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Train an adapter on a lesson, always from the beginning and on the whole window.

    Repeatable for a seed on a CPU. With a checkpoint, a run that was killed goes on after its last round and ends
    as if it had not been. On CUDA in bfloat16 where the hardware has it. Raises ModelError without any clicks.
    """
    options = options or AdapterOptions()
    if not len(lesson.clicks):
        raise ModelError("there are no clicks to train an adapter on")
    run = _Run(lesson, options)
    untrained = run.network.adapter()
    standing = Checkpoint(checkpoint, _fingerprint(lesson, options)) if checkpoint else None
    losses = run.train(standing, on_progress)
    return Trained(run.network.adapter(), untrained, losses)


class _Run:
    """One training: network, optimizer and data on one device."""

    def __init__(self, lesson: Lesson, options: AdapterOptions) -> None:
        self._lesson, self._options = lesson, options
        self._device = (
            torch.device("cuda", _local_rank()) if torch.cuda.is_available() else torch.device("cpu")
        )
        torch.manual_seed(options.seed)
        dimension = lesson.documents.vectors.shape[1]
        self.network = AdapterNetwork(dimension=dimension, hidden=options.hidden).to(self._device)
        self._moved = DistributedDataParallel(self.network) if _processes() > 1 else self.network
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        steps = options.epochs * len(lesson.clicks) // options.batch
        self._steps = min(max(steps, options.fewest_steps), options.most_steps)
        self._negatives = _hard_negatives(lesson, options.hard_negatives)
        self._leaves = (
            fit_leaves(lesson.documents, per_leaf=options.documents_per_leaf, seed=options.seed)
            if options.loss.generation
            else None
        )
        self._temperature = options.temperature * _usual_length(lesson.clicks.queries)
        self._temperature *= _usual_length(lesson.documents.vectors)
        self._weights = lesson.clicks.weights / max(float(lesson.clicks.weights.mean()), 1e-9)

    def train(
        self, checkpoint: Checkpoint | None, on_progress: Callable[[Progress], None]
    ) -> tuple[float, ...]:
        modules = {"network": self.network, "optimizer": self._optimizer}
        standing = checkpoint.load(**modules) if checkpoint else None
        standing = standing or Standing((self._held_out_loss(),), copied(self.network))
        began, first = time.monotonic(), standing.epoch * _ROUND
        for start in range(first, self._steps, _ROUND):
            # Seeded by the place, so that a run that was taken up again sees the same batches.
            random = np.random.default_rng((self._options.seed, start))
            ends = min(start + _ROUND, self._steps)
            losses = [self._step(random, share=step / self._steps) for step in range(start, ends)]
            standing = standing.after(self._held_out_loss(), self.network)
            if checkpoint and _rank() == 0:
                checkpoint.save(standing, **modules)
            left = (time.monotonic() - began) / (ends - first) * (self._steps - ends)
            on_progress(Progress(ends, self._steps, float(np.mean(losses)), left))
        return standing.losses

    def _step(self, random: np.random.Generator, *, share: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = self._options.learning_rate * (1.0 - share)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._in_bfloat16):
            loss = self._loss(random, share)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def _loss(self, random: np.random.Generator, share: float) -> torch.Tensor:
        """All terms for one batch. One pass through the network: its gradients are gathered once."""
        weights, taught = self._options.loss, self._sources(share)
        chosen = self._drawn(random, len(self._lesson.clicks), self._options.batch, "clicks" in taught)
        texts = self._texts(random, taught)
        asked = self._drawn(
            random, len(self._lesson.asked), self._options.replay_batch, weights.distillation > 0
        )
        clicked = self._lesson.clicks.rows(chosen)
        parts = [clicked.queries, texts.queries, self._lesson.asked[asked]]
        slices = [_own_slice(len(part)) for part in parts]
        before = [self._tensor(part[own]) for part, own in zip(parts, slices, strict=True)]
        after = self._moved(torch.cat(before)).split([len(part) for part in before])
        loss = after[0].sum() * 0.0
        if len(before[0]):
            loss = loss + self._of_clicks(after[0], clicked, chosen, slices[0])
        if weights.replay and len(before[1]):
            loss = loss + weights.replay * self._choice(after[1], texts, slices[1])
        if weights.identity and len(before[1]):
            loss = loss + weights.identity * movement(before[1], after[1])
        if weights.distillation and len(before[2]):
            loss = loss + weights.distillation * self._of_asked(before[2], after[2], random)
        return loss

    def _of_clicks(self, moved: torch.Tensor, clicked: Pairs, chosen: Rows, own: slice) -> torch.Tensor:
        weights = self._options.loss
        importance = self._weights[chosen][own]
        loss = weights.clicks * self._choice(moved, clicked, own, importance, self._negatives[chosen].ravel())
        if weights.alignment:
            documents = self._tensor(self._lesson.documents.vectors[clicked.targets[own]])
            loss = loss + weights.alignment * misalignment(moved, documents, self._tensor(importance))
        if self._leaves is not None:
            centroids = self._tensor(self._leaves.centroids)
            leaves = self._tensor(self._leaves.of_rows[clicked.targets[own]])
            leaves_loss = generation(moved, centroids, leaves, self._tensor(importance), self._temperature)
            loss = loss + weights.generation * leaves_loss
        return loss

    def _choice(
        self,
        moved: torch.Tensor,
        pairs: Pairs,
        own: slice,
        weights: Floats | None = None,
        more: Rows | None = None,
    ) -> torch.Tensor:
        """Against all documents of the batch, and `more`."""
        rows = pairs.targets if more is None else np.concatenate([pairs.targets, more])
        targets = self._targets(rows)
        columns = torch.arange(own.start, own.start + len(moved), device=self._device)
        importance = self._tensor(pairs.weights[own] if weights is None else weights)
        return choice(targets.logits(moved, self._temperature), targets, columns, importance)

    def _of_asked(
        self, before: torch.Tensor, after: torch.Tensor, random: np.random.Generator
    ) -> torch.Tensor:
        targets = self._targets(random.integers(len(self._lesson.documents), size=4 * self._options.batch))
        return distilled(*(targets.logits(queries, self._temperature) for queries in (before, after)))

    def _sources(self, share: float) -> tuple[str, ...]:
        """What takes part after a share of the steps: all of it from three eighths on."""
        if not self._options.curriculum:
            return _SOURCES
        return _SOURCES[: 1 + int(2 * share * len(_SOURCES))]

    def _texts(self, random: np.random.Generator, taught: tuple[str, ...]) -> Pairs:
        """Catalogue texts of a step: from titles and tags in proportion to their number."""
        known = [
            pairs
            for name, pairs in (("titles", self._lesson.titles), ("tags", self._lesson.tags))
            if name in taught
        ]
        count = sum(map(len, known))
        if not count:
            return self._lesson.titles.rows(np.zeros(0, dtype=np.int64))
        drawn = random.integers(count, size=min(self._options.replay_batch, count))
        titles = len(known[0])
        parts = [known[0].rows(drawn[drawn < titles])]
        parts += [pairs.rows(drawn[drawn >= titles] - titles) for pairs in known[1:]]
        return Pairs(
            np.concatenate([part.queries for part in parts]),
            np.concatenate([part.targets for part in parts]),
            np.concatenate([part.weights for part in parts]),
        )

    @staticmethod
    def _drawn(random: np.random.Generator, count: int, size: int, wanted: bool) -> Rows:
        if not count or not wanted:
            return np.zeros(0, dtype=np.int64)
        return random.integers(count, size=min(size, count))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _held_out_loss(self) -> float:
        pairs = self._lesson.held_out if len(self._lesson.held_out) else self._lesson.clicks
        pairs = pairs.rows(np.arange(min(len(pairs), _EVALUATED)))
        moved = self.network(self._tensor(pairs.queries))
        return float(self._choice(moved, pairs, slice(0, len(pairs))))

    @property
    def _in_bfloat16(self) -> bool:
        return self._device.type == "cuda" and bool(torch.cuda.is_bf16_supported())

    def _targets(self, rows: Rows) -> Targets:
        documents = self._lesson.documents
        arrays = (documents.vectors, documents.means, documents.spreads, documents.owners)
        return Targets(*(self._tensor(array[rows]) for array in arrays))

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


def _usual_length(vectors: Floats) -> float:
    return float(np.linalg.norm(vectors, axis=1).mean())


def _hard_negatives(lesson: Lesson, count: int) -> Rows:
    """For each click, rows that score highest and belong to another document, (n, count)."""
    found = np.zeros((len(lesson.clicks), count), dtype=np.int64)
    if not count:
        return found
    documents, most = lesson.documents, min(count + 8, len(lesson.documents))
    for start in range(0, len(found), _SEARCHED_AT_ONCE):
        part = lesson.clicks.rows(np.arange(start, min(start + _SEARCHED_AT_ONCE, len(found))))
        scores = documents.scores(part.queries)
        scores[documents.owners[None, :] == documents.owners[part.targets][:, None]] = -np.inf
        best = np.argpartition(-scores, most - 1, axis=1)[:, :most]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)[:, :count]
        found[start : start + len(part)] = np.take_along_axis(best, order, axis=1)
    return found


def _processes() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def _local_rank() -> int:
    """Which of the machine's devices belongs to this process; `torchrun` says so."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def _own_slice(count: int) -> slice:
    """The rows of a batch that this process computes. Remainders go: gradients are averaged over equal slices."""
    each = count // _processes()
    return slice(_rank() * each, (_rank() + 1) * each)


def _fingerprint(lesson: Lesson, options: AdapterOptions) -> str:
    digest = hashlib.sha256(orjson.dumps(asdict(options)))
    for array in lesson.arrays():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
