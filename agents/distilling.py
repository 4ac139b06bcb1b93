"""A decoder for the active tree, distilled from what the index holds. No clicks are needed.

The curator writes a sample of its replica to a folder and starts `python -m agents.distilling FOLDER`: training has
a process of its own, so that it can be given little of the machine, and so that torch is no part of the curator. A
run that was killed goes on from its checkpoint. Without torch there is no decoder, and geometry serves alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
import structlog
from numpy.typing import NDArray
from safetensors import numpy as safetensors

from agents.model_log import FUSION_FILE, fusion_weights
from agents.worker import take_what_is_left
from models.bundles import Bundle, Manifest
from models.codebooks import Codebook
from models.decoder.decoder import FILES
from models.encoders.base import Encoder, TextPart
from models.encoders.registry import load_encoder
from state.live_index import LiveIndex
from state.shard import Shard
from streams.events.models import QUERY_MODEL
from streams.settings import Settings

if TYPE_CHECKING:
    from models.decoder.pairs import Sample
    from models.decoder.training import Progress

log = structlog.get_logger()

DOCUMENTS = 100_000
"""Documents in a sample, at most."""
QUERIES = 8_000
"""Their titles, asked as queries, at most."""
FEWEST_QUERIES = 1_000
"""With fewer titles there is no decoder: trained on documents as queries, it misleads queries of another kind."""
_SAMPLE, _REQUEST, _DONE = "sample.safetensors", "request.json", "done.json"
_NO_TORCH = 3
_TEXTS_AT_ONCE = 64

Vectors = NDArray[np.float32]


class Distiller:
    """At most one training process at a time. Not safe for threads."""

    def __init__(
        self, settings: Settings, *, index: LiveIndex, shard: Shard, stamp: str, folder: Path
    ) -> None:
        self._settings = settings
        self._index = index
        self._shard = shard
        self._stamp = stamp
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._epoch = -1
        self._is_possible = True

    def start(self, tree: Codebook) -> None:
        """Begin with a tree, once, or go on where a run that was killed stopped; end what runs for another tree."""
        if not self._is_possible or self._epoch == tree.epoch:
            return
        self.stop()
        self._epoch = tree.epoch
        folder = self._folder / str(tree.epoch)
        if not (folder / _REQUEST).exists():
            shutil.rmtree(self._folder, ignore_errors=True)
            folder.mkdir(parents=True)
            if not self._write_sample(folder, tree):
                log.info("no decoder: too few documents have titles", epoch=tree.epoch, needed=FEWEST_QUERIES)
                return
        with (folder / "log.txt").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agents.distilling", str(folder)],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        log.info("decoder is distilled", epoch=tree.epoch, folder=str(folder))

    def finished(self, *, parent: Bundle | None = None) -> Bundle | None:
        """The bundle that came out since the last call, if any. A run that failed is told in the log, once.

        How paths are fused it takes from `parent`, the bundle that served meanwhile.
        """
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self._process = None
        folder = self._folder / str(self._epoch)
        if code == _NO_TORCH:
            self._is_possible = False
            log.warning(
                "no decoder: training needs torch (pip install 'trieflow[train]'); geometry serves alone"
            )
            return None
        if code != 0 or not (folder / _DONE).exists():
            log.error(
                "the decoder could not be distilled",
                epoch=self._epoch,
                code=code,
                log=str(folder / "log.txt"),
            )
            self._is_possible = False
            return None
        decoder = {name: (folder / name).read_bytes() for name in FILES}
        figures = orjson.loads((folder / _DONE).read_bytes())
        bundle = self._bundle(decoder, parent)
        log.info("decoder distilled", bundle=bundle.manifest.reference, **figures)
        return bundle

    def _bundle(self, decoder: Mapping[str, bytes], parent: Bundle | None) -> Bundle:
        """Its version follows from all that it holds: another bundle never has the same."""
        manifest = Manifest(
            name=QUERY_MODEL,
            version="unnamed",
            parent=None if parent is None else parent.manifest.reference,
            encoder_stamp=self._stamp,
            codebook_epoch=self._epoch,
        )
        fusion = fusion_weights(parent).model_dump_json().encode()
        unnamed = Bundle.of(manifest, {**decoder, FUSION_FILE: fusion})
        digest = hashlib.sha256(unnamed.manifest.model_dump_json().encode()).hexdigest()
        version = f"epoch-{self._epoch}-{digest[:8]}"
        return Bundle(unnamed.manifest.model_copy(update={"version": version}), unnamed.files)

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def stop(self) -> None:
        """End the process; what it has reached stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _write_sample(self, folder: Path, tree: Codebook) -> bool:
        """Whether there is enough to train on; nothing is written when there is not."""
        random = np.random.default_rng(self._settings.index.seed)
        every = np.array(list(self._index.every()), dtype=np.int64)
        slots = random.permutation(every)[:DOCUMENTS]
        path = self._index.path(tree.epoch)
        with self._index.reading():
            titles = self._titles(slots)
            if len(titles) < FEWEST_QUERIES:
                return False
            arrays = {
                "documents": self._index.fused(slots).astype(np.float16),
                "paths": path.leaves_of(slots),
                "leaves": np.asarray(tree.leaves),
                "centroids": np.asarray(tree.centroids),
                "titled": np.array([row for row, _ in titles], dtype=np.int64),
            }
        safetensors.save_file(arrays, str(folder / _SAMPLE))
        request = {
            "epoch": tree.epoch,
            "stamp": self._stamp,
            "encoder": self._settings.encoder,
            "seed": self._settings.index.seed,
            "titles": [title for _, title in titles],
        }
        _write(folder / _REQUEST, orjson.dumps(request))  # last: with it the sample is whole
        return True

    def _titles(self, slots: NDArray[np.int64]) -> list[tuple[int, str]]:
        """Rows of documents that have a title, and these."""
        found: list[tuple[int, str]] = []
        for row, slot in enumerate(slots.tolist()):
            document_id = self._index.document_id(slot)
            stored = None if document_id is None else self._shard.document(document_id)
            if stored is not None and stored.title:
                found.append((row, stored.title))
            if len(found) == QUERIES:
                break
        return found


def train(folder: Path) -> int:
    """Train what stands in a folder; the exit status of the process."""
    try:
        import torch

        from models.decoder.training import DistillationOptions, distil
    except ImportError:
        return _NO_TORCH
    take_what_is_left()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    request = orjson.loads((folder / _REQUEST).read_bytes())
    sample = _sample(folder, request, load_encoder(request["encoder"], threads=1))
    distilled = distil(
        sample,
        epoch=request["epoch"],
        stamp=request["stamp"],
        options=DistillationOptions(seed=request["seed"]),
        checkpoint=folder / "checkpoint.safetensors",
        on_progress=_report,
    )
    for name, data in distilled.decoder.to_files().items():
        _write(folder / name, data)
    figures = {"weight": distilled.tuned.weight, "queries": len(sample.queries)}
    _write(folder / _DONE, orjson.dumps(figures))
    return 0


def _sample(folder: Path, request: dict[str, object], encoder: Encoder) -> Sample:
    from models.decoder.pairs import Sample

    arrays = safetensors.load_file(str(folder / _SAMPLE))
    titles = request["titles"]
    assert isinstance(titles, list)
    return Sample(
        documents=arrays["documents"],
        paths=arrays["paths"],
        leaves=arrays["leaves"],
        centroids=arrays["centroids"],
        queries=_encoded(titles, encoder),
        own=arrays["titled"],
    )


def _encoded(titles: Sequence[str], encoder: Encoder) -> Vectors:
    batches = [
        encoder.encode([TextPart(title) for title in titles[at : at + _TEXTS_AT_ONCE]], side="query").vectors
        for at in range(0, len(titles), _TEXTS_AT_ONCE)
    ]
    return np.concatenate(batches)


def _report(progress: Progress) -> None:
    if progress.step % 50 == 0:
        log.info(
            "distilling", step=progress.step, of=progress.steps, seconds_left=round(progress.seconds_left)
        )


def _write(path: Path, data: bytes) -> None:
    unfinished = path.with_suffix(path.suffix + ".unfinished")
    unfinished.write_bytes(data)
    unfinished.replace(path)


if __name__ == "__main__":
    sys.exit(train(Path(sys.argv[1])))
