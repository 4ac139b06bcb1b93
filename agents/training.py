"""One training of an adapter, from offsets to a bundle.

Reads the window and the catalogue from the logs, trains, weakens the adapter until the guard holds (WiSE), then the
weights of fine-ranking that are learned beside it, asks the gates. A run that was killed reads the logs again and
goes on from the checkpoint of its training.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from agents.catalogue import read_catalogue
from agents.judging import Judging
from agents.lesson import chosen, make_lesson
from agents.model_log import FOLDER
from agents.ranking_lesson import learn_ranking, wanted_fields
from agents.training_window import Window, read_window
from models.adapter.adapter import QueryAdapter
from models.bundles import Bundle, BundleStore, Manifest
from models.encoders.base import EncoderDescription
from models.encoders.registry import load_encoder
from models.gates.guard import GuardQueries
from models.gates.ranks import discounts
from models.gates.report import make_report, to_html
from models.gates.verdict import Judgement, judge
from models.ranking.ranker import NOTHING_LEARNED, Ranker
from models.ranking.weights import Ranking
from streams.events.models import ADAPTER_MODEL, bundle_key
from streams.events.training import Stage, TrainingRequest
from streams.settings import Settings

if TYPE_CHECKING:
    from models.adapter.training import Trained  # torch

REPORT = "report.html"
LOGS = "logs-"
ALPHAS = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1)
"""Shares of what was trained that are tried, the largest first."""
NDCG_KEPT, MRR_KEPT = -0.005, -0.01
"""By so much the guard's means may change, relatively."""


class Tell(Protocol):
    """Is told what is being done, the share of it that is done, and seconds left where they are known."""

    def __call__(self, stage: Stage, done: float, seconds_left: float | None = None) -> None: ...


@dataclass(frozen=True)
class Candidate:
    """An adapter that was trained and judged, as a bundle."""

    bundle: Bundle
    judgement: Judgement


def train(
    settings: Settings, request: TrainingRequest, folder: Path, *, incumbent: str | None, tell: Tell
) -> Candidate:
    """Run a request. `folder` keeps its checkpoint; `incumbent`: version of the adapter that serves.

    Raises ModelError when there is nothing to train on, SettingsError, GateError, BrokerError, StateError,
    ImportError without torch.
    """
    from models.adapter.training import train_adapter

    encoder = load_encoder(settings.encoder, threads=max(1, (os.cpu_count() or 1) // 2))
    stamp = encoder.description.stamp
    with _read(settings, request, folder, stamp=stamp, tell=tell) as window:
        served = _served(settings, incumbent, encoder.description)
        catalogue = read_catalogue(
            settings,
            encoder.description,
            window=[part for part in request.window if part.topic == "assignments"],
            wanted=chosen(window),
            fields=wanted_fields(settings.ranking, served.ranking),
            on_progress=lambda share: tell("reading", 0.5 + 0.5 * share),
        )
        lesson, known = make_lesson(
            window,
            catalogue,
            encoder,
            settings.training,
            on_progress=lambda share: tell("encoding", share),
        )
        trained = train_adapter(
            lesson,
            checkpoint=folder / "checkpoint.safetensors",
            on_progress=lambda at: tell("training", at.step / at.steps, at.seconds_left),
        )
        tell("judging", 0.0)
        judging = Judging(window, catalogue, known, incumbent=served, stamp=stamp)
        adapter, alpha = weakened(trained, lambda adapter: judging.guard(Ranker(adapter)))
        learned = (
            learn_ranking(window.taught, catalogue, settings.ranking)
            if settings.training.ranking
            else Ranking()
        )
        candidate, share = with_ranking(judging, Ranker(adapter), learned)
        tell("judging", 0.5)
        evidence = judging.evidence(candidate)
        judgement = judge(evidence)
        report = make_report(
            "the candidate",
            "queries as they are encoded" if incumbent is None else bundle_key(ADAPTER_MODEL, incumbent),
            evidence,
            judgement,
            documents=len(catalogue.ids),
        )
    manifest = Manifest(
        name=ADAPTER_MODEL,
        version="unnamed",
        parent=None if incumbent is None else bundle_key(ADAPTER_MODEL, incumbent),
        encoder_stamp=stamp,
        training_window=_offsets(request),
        gates=judgement.results(),
        weights={"adapter": {"alpha": alpha}, "ranking": {"alpha": share, **candidate.ranking.weights}},
    )
    return Candidate(_named(manifest, {**candidate.to_files(), REPORT: to_html(report).encode()}), judgement)


def weakened(trained: Trained, guard: Callable[[QueryAdapter], GuardQueries]) -> tuple[QueryAdapter, float]:
    """The largest share of the training that what nobody clicked for bears: (adapter, share).

    The smallest one when it bears none; the gates refuse that.
    """
    for alpha in ALPHAS:
        adapter = trained.adapter.weakened(trained.untrained, alpha)
        if _bears(guard(adapter)):
            break
    return adapter, alpha


def with_ranking(judging: Judging, weakened: Ranker, learned: Ranking) -> tuple[Ranker, float]:
    """What was weakened already, with the largest share of the weights that the guard bears: (ranker, share).

    Without them when it bears none: then the adapter is judged alone. Words are not seen by the guard.
    """
    for alpha in ALPHAS if learned.weights else ():
        ranker = Ranker(weakened.adapter, learned.weakened(alpha))
        if _bears(judging.guard(ranker)):
            return ranker, alpha
    return weakened, 0.0


def _bears(guard: GuardQueries) -> bool:
    """By means: by the bounds of the gate, noise would be weakened to a harmless tenth that no gate refuses."""
    if not len(guard):
        return False
    changes = (
        (discounts(guard.before), discounts(guard.after), NDCG_KEPT),
        (1 / guard.before, 1 / guard.after, MRR_KEPT),
    )
    return all(np.mean(after) >= np.mean(before) * (1 + kept) for before, after, kept in changes)


@contextmanager
def _read(
    settings: Settings, request: TrainingRequest, folder: Path, *, stamp: str, tell: Tell
) -> Iterator[Window]:
    """The window, in shards of this process alone that are gone behind it, with those that a killed one left."""
    for left in folder.glob(f"{LOGS}*"):
        shutil.rmtree(left, ignore_errors=True)
    own = Path(tempfile.mkdtemp(prefix=LOGS, dir=folder))
    clicks = [part for part in request.window if part.topic != "assignments"]
    window = read_window(
        settings, clicks, own, stamp=stamp, on_progress=lambda share: tell("reading", 0.5 * share)
    )
    try:
        yield window
    finally:
        window.close()
        shutil.rmtree(own, ignore_errors=True)


def _served(settings: Settings, version: str | None, encoder: EncoderDescription) -> Ranker:
    if version is None:
        return NOTHING_LEARNED
    store = BundleStore(f"{settings.content_store}/{FOLDER}")
    bundle = store.read(bundle_key(ADAPTER_MODEL, version), stamp=encoder.stamp)
    return Ranker.from_files(bundle.files, dimension=encoder.dimension)


def _named(manifest: Manifest, files: Mapping[str, bytes]) -> Bundle:
    """Its version follows from all that it holds: another bundle never has the same."""
    unnamed = Bundle.of(manifest, files)
    version = hashlib.sha256(unnamed.manifest.model_dump_json().encode()).hexdigest()[:8]
    return Bundle(unnamed.manifest.model_copy(update={"version": version}), unnamed.files)


def _offsets(request: TrainingRequest) -> dict[str, dict[int, tuple[int, int]]]:
    found: dict[str, dict[int, tuple[int, int]]] = {}
    for part in request.window:
        found.setdefault(part.topic, {})[part.partition] = (part.start, part.end)
    return found
