"""Distillation: from a sample of the index to a decoder, in about a minute on one core."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import orjson
import structlog
import torch
from numpy.typing import NDArray

from models.checkpoint import Checkpoint, Standing, copied
from models.decoder.decoder import Decoder, DecoderDescription
from models.decoder.levels import Codes, tree_levels
from models.decoder.losses import LossWeights, Paths, PathScores, contrast, cross_entropy, misalignment
from models.decoder.network import DecoderNetwork, begin_as_geometry, to_onnx
from models.decoder.pairs import Neighbours, Pairs, Sample, exact_neighbours, make_pairs
from models.decoder.scores import path_log_probabilities
from models.decoder.weight import TunedWeight, tune_sharpness, tune_weight
from streams.errors import ModelError

_SHARPNESSES = (1.0, 2.0, 4.0, 8.0)
_EVALUATED = 512  # queries at a time

_log = structlog.get_logger()


@dataclass(frozen=True)
class DistillationOptions:
    """How to train. The defaults are those that the table in `docs/adr/0011-decoder.md` speaks for.

    width: h. top: answers of a query; negatives: documents after them. teacher_temperature: of the exact scorer's
    softmax, in spreads of the answers' scores. noise: what is added to a query for the path of its own document,
    as a share of its length. held_out: share of the queries kept for early stopping and for the weight.
    patience: epochs without gain before training stops.
    """

    seed: int = 0
    width: int = 64
    hidden: int = 512
    loss: LossWeights = field(default_factory=LossWeights)
    top: int = 10
    negatives: int = 40
    teacher_temperature: float = 2.0
    noise: float = 0.3
    held_out: float = 0.1
    batch: int = 256
    epochs: int = 8
    patience: int = 2
    learning_rate: float = 1e-3


@dataclass(frozen=True)
class Progress:
    """Where training is: steps done of all, the last loss of both kinds, and seconds that are left at most."""

    step: int
    steps: int
    loss: float
    held_out_loss: float
    seconds_left: float


@dataclass(frozen=True)
class Distilled:
    """A decoder, how its weight was chosen, and the held-out loss before training and after each epoch."""

    decoder: Decoder
    tuned: TunedWeight
    held_out_losses: tuple[float, ...]


def distil(
    sample: Sample,
    *,
    epoch: int,
    stamp: str,
    options: DistillationOptions | None = None,
    neighbours: Neighbours | None = None,
    checkpoint: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Distilled:
    """Train a decoder for the tree of this epoch and for queries of this encoder.

    Repeatable for a seed on a CPU. With a checkpoint, a run that was killed goes on after its last whole epoch and
    ends as if it had not been. neighbours: what a search found, `options.top + options.negatives` documents a
    query; exact search is done when there are none, which takes longest for a large sample. Uses CUDA where there
    is one. Raises ModelError when the sample is too small.
    """
    options = options or DistillationOptions()
    neighbours = neighbours or exact_neighbours(sample, k=options.top + options.negatives)
    pairs = make_pairs(sample, neighbours, top=options.top, teacher_temperature=options.teacher_temperature)
    kept = _held_out(sample.own, options)
    held_out, training = pairs.rows(np.flatnonzero(kept)), pairs.rows(np.flatnonzero(~kept))
    run = _Run(sample, training=training, held_out=held_out, options=options)
    losses = run.train(
        Checkpoint(checkpoint, _fingerprint(sample, options)) if checkpoint else None, on_progress
    )
    sharpness = tune_sharpness(
        held_out.queries,
        leaves=sample.leaves,
        centroids=sample.centroids,
        targets=held_out.targets,
        weights=held_out.weights,
    )
    description = DecoderDescription(epoch, stamp, sample.centroids.shape[1], weight=0.0, sharpness=sharpness)
    decoder = Decoder(description, network=to_onnx(run.network), nodes=run.network.nodes(run.levels))
    tuned = _tuned(decoder, sample, held_out)
    _log.info("decoder distilled", pairs=len(training), leaves=len(sample.leaves), **asdict(tuned))
    return Distilled(decoder.reweighted(tuned.weight), tuned, losses)


class _Run:
    """One training run: network, optimizer and data on one device."""

    def __init__(
        self, sample: Sample, *, training: Pairs, held_out: Pairs, options: DistillationOptions
    ) -> None:
        self.options = options
        self.levels = tree_levels(sample.leaves)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._paths = Paths(self.levels, device=self._device)
        self._training, self._held_out = training, held_out
        self._steps = -(-len(training) // options.batch)
        torch.manual_seed(options.seed)
        dimension = sample.centroids.shape[1]
        self.network = DecoderNetwork(
            dimension=dimension,
            hidden=options.hidden,
            width=min(options.width, dimension),
            nodes=[len(level.prefixes) for level in self.levels],
        ).to(self._device)
        self._begin(sample)
        self._optimizer = torch.optim.AdamW(self.network.parameters(), lr=options.learning_rate)

    def train(
        self, checkpoint: Checkpoint | None, on_progress: Callable[[Progress], None]
    ) -> tuple[float, ...]:
        """Train until the last epoch or until held-out queries gain no more; the best network is kept."""
        modules = {"network": self.network, "optimizer": self._optimizer}
        standing = checkpoint.load(**modules) if checkpoint else None
        standing = standing or Standing((self._held_out_loss(),), copied(self.network))
        while standing.epoch < self.options.epochs and standing.stale < self.options.patience:
            self._train_epoch(standing, on_progress)
            standing = standing.after(self._held_out_loss(), self.network)
            if checkpoint:
                checkpoint.save(standing, **modules)
        self.network.load_state_dict(dict(standing.best))
        return standing.losses

    def _begin(self, sample: Sample) -> None:
        """As geometry, as sharp as fits held-out queries best."""
        begun: list[tuple[float, float]] = []
        for sharpness in _SHARPNESSES:
            self._begin_with(sample, sharpness)
            begun.append((self._held_out_loss(), sharpness))
        self._begin_with(sample, min(begun)[1])

    def _begin_with(self, sample: Sample, sharpness: float) -> None:
        queries = self._training.queries[:4096]
        begin_as_geometry(
            self.network, self.levels, centroids=sample.centroids, queries=queries, sharpness=sharpness
        )

    def _train_epoch(self, standing: Standing, on_progress: Callable[[Progress], None]) -> None:
        # Seeded by the epoch, so that a run that was taken up again sees the same batches and the same noise.
        random = np.random.default_rng((self.options.seed, standing.epoch))
        order = random.permutation(len(self._training))
        noise = torch.Generator(self._device).manual_seed(int(random.integers(2**31)))
        began = time.monotonic()
        for number in range(self._steps):
            batch = self._training.rows(order[number * self.options.batch :][: self.options.batch])
            done = standing.epoch * self._steps + number
            loss = self._step(batch, noise, share=done / (self.options.epochs * self._steps))
            left = self.options.epochs * self._steps - done - 1
            seconds = (time.monotonic() - began) / (number + 1) * left
            on_progress(Progress(done + 1, done + 1 + left, loss, standing.losses[-1], seconds))

    def _step(self, batch: Pairs, noise: torch.Generator, *, share: float) -> float:
        for group in self._optimizer.param_groups:  # cosine, from the share of steps that are done
            group["lr"] = self.options.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))
        loss = self._loss(batch, noise)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def _loss(self, batch: Pairs, noise: torch.Generator) -> torch.Tensor:
        weights = self.options.loss
        queries = self._tensor(batch.queries)
        heads = self.network(queries)
        scores = PathScores(self.network, heads, self._paths)
        answers, shares = scores.of(self._tensor(batch.targets)), self._tensor(batch.weights)
        loss = weights.generation * cross_entropy(answers, shares)
        if weights.contrastive:
            others = scores.of(self._tensor(batch.negatives))
            loss = loss + weights.contrastive * contrast(answers, others, shares)
        if weights.own:
            loss = loss + weights.own * self._own(queries, batch, noise)
        if weights.alignment:
            documents = self.network(self._tensor(batch.documents))
            loss = loss + weights.alignment * misalignment(heads, documents)
        return loss

    def _own(self, queries: torch.Tensor, batch: Pairs, noise: torch.Generator) -> torch.Tensor:
        leaves = self._tensor(batch.own)
        there = (leaves >= 0).float()
        length = self.options.noise * queries.norm(dim=1, keepdim=True) / math.sqrt(queries.shape[1])
        added = torch.randn(queries.shape, generator=noise, device=self._device) * length
        scores = PathScores(self.network, self.network(queries + added), self._paths)
        return cross_entropy(scores.of(leaves), there / there.sum(dim=1, keepdim=True).clamp(min=1.0))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _held_out_loss(self) -> float:
        total = 0.0
        for start in range(0, len(self._held_out), _EVALUATED):
            batch = self._held_out.rows(np.arange(start, min(start + _EVALUATED, len(self._held_out))))
            scores = PathScores(self.network, self.network(self._tensor(batch.queries)), self._paths)
            loss = cross_entropy(scores.of(self._tensor(batch.targets)), self._tensor(batch.weights))
            total += float(loss) * len(batch)
        return total / len(self._held_out)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


def _held_out(own: Codes, options: DistillationOptions) -> NDArray[np.bool_]:
    """Which queries are held out: all that were made from one document, so that what is tuned on them is unseen."""
    alone = own.max(initial=0) + 1 + np.arange(len(own))
    groups = np.unique(np.where(own >= 0, own, alone), return_inverse=True)[1]
    number = int(groups.max(initial=-1)) + 1
    kept = np.random.default_rng(options.seed).random(number)[groups] < options.held_out
    if not 0 < kept.sum() < len(kept):
        raise ModelError(f"{len(own)} queries are too few to hold out {options.held_out:.0%} of them")
    return kept


def _tuned(decoder: Decoder, sample: Sample, held_out: Pairs) -> TunedWeight:
    learned = path_log_probabilities(
        held_out.queries,
        decoder.heads(held_out.queries),
        decoder.nodes,
        leaves=sample.leaves,
        centroids=sample.centroids,
        sharpness=decoder.description.sharpness,
    )[-1]
    rows = np.searchsorted(sample.leaves, sample.paths[sample.paths >= 0])
    sizes = np.bincount(rows, minlength=len(sample.leaves))
    geometry = held_out.queries @ sample.centroids.T
    return tune_weight(geometry, learned, answers=held_out.answers, sizes=sizes)


def _fingerprint(sample: Sample, options: DistillationOptions) -> str:
    digest = hashlib.sha256(orjson.dumps(asdict(options)))
    for array in (sample.documents, sample.paths, sample.centroids, sample.queries, sample.own):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
