"""The trainer: takes requests from `training`, and publishes adapters with what the gates say of them to `models`.

It decides about nothing: a bundle that the gates accept serves when the learner rolls it out. A run is a function
of the offsets in its request; killed at any line, it is run again and comes to the same bundle. Run one trainer: a
second one would do the same work once more.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import structlog

from agents import crash_points
from agents.fenced_writer import FencedWriter
from agents.model_log import FOLDER, RolloutLog
from agents.outbox import Outgoing
from agents.training import REPORT, Candidate, train
from agents.training_log import TrainingLog
from agents.worker import Worker, configure_logging, run_steps, take_what_is_left
from models.bundles import BundleStore
from models.gates.verdict import Verdict as Judged
from streams.errors import BrokerError, TrieflowError
from streams.events.models import ADAPTER_MODEL, ModelBundle, Verdict, bundle_key
from streams.events.training import Stage, TrainingProgress, TrainingRequest
from streams.headers import TYPES, cloud_event
from streams.settings import Settings

log = structlog.get_logger()

ROLE = "trainer"
SOURCE = "trieflow/trainer"
INTERVAL_S = 0.2
TELL_EVERY_S = 1.0
_VERDICTS: dict[Judged, Verdict] = {"accept": "accepted", "canary_only": "canary_only", "refuse": "refused"}
_NO_TORCH = "training needs torch: pip install 'trieflow[train]', then `trieflow models train`"

Told = tuple[Stage, float, float | None]
Ended = Candidate | str
"""A string says why there is no candidate."""


class Trainer:
    """Runs the newest request in a process of its own: it can be given little of the machine, and torch leaves the
    memory with it."""

    def __init__(self, worker: Worker) -> None:
        settings = worker.settings
        self._settings = settings
        self._worker = worker
        self._folder = settings.role_folder(ROLE)
        self._log = TrainingLog(settings)
        self._models = RolloutLog(settings)
        self._store = BundleStore(f"{settings.content_store}/{FOLDER}")
        self._run: _Run | None = None
        self._told_at = 0.0

    def start(self) -> None:
        """Fence every earlier trainer of this name, then read both logs."""
        self._writer = FencedWriter(
            self._settings, transactional_id=f"{self._settings.prefix}{ROLE}-{self._settings.worker}"
        )
        self._log.start()
        self._models.start()
        self._worker.health.set_ready("model", True)

    def step(self) -> None:
        """Look once. Raises BrokerError, FencedError, ModelError."""
        for follower in (self._log, self._models):
            if follower.failure is not None:
                raise BrokerError(f"a log cannot be followed: {follower.failure}") from follower.failure
        wanted = self._log.next
        if self._run is not None:  # it is finished, or requests that come fast would let none come to an end
            self._follow(self._run)
        elif wanted is not None:
            self._begin(wanted)
        self._worker.health.set_detail("training", None if self._run is None else self._run.request.run)

    def stop(self) -> None:
        """End what runs; what it has reached stays."""
        if self._run is not None:
            self._run.stop()
        self._models.stop()
        self._log.stop()

    def _begin(self, request: TrainingRequest) -> None:
        folder = self._folder / request.run
        for other in self._folder.iterdir() if self._folder.exists() else ():
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        told = f"{request.run} learns from all that this one would have"
        self._writer.write(
            [
                self._progress(run, "overtaken", message=told)
                for run in self._log.overtaken
                if run != request.run
            ]
        )
        rollout = self._models.rollout
        self._run = _Run(self._settings, request, folder, None if rollout is None else rollout.active)
        log.info("training begins", run=request.run, reason=request.reason)

    def _follow(self, run: _Run) -> None:
        """Pass on how far it is; publish when it has ended."""
        ended = run.look()
        if ended is None:
            if run.told is not None and time.monotonic() - self._told_at >= TELL_EVERY_S:
                self._told_at = time.monotonic()
                stage, done, left = run.told
                self._writer.write([self._progress(run.request.run, stage, done=done, seconds_left=left)])
            return
        self._run = None
        if isinstance(ended, Candidate):
            self._publish(run, ended)
        else:
            log.error("a training failed", run=run.request.run, reason=ended)
            self._writer.write([self._progress(run.request.run, "failed", message=ended)])
        shutil.rmtree(run.folder, ignore_errors=True)

    def _publish(self, run: _Run, candidate: Candidate) -> None:
        """The bundle first, then both records in one transaction: whoever reads of a bundle finds it."""
        manifest, judgement = candidate.bundle.manifest, candidate.judgement
        uri = self._store.write(candidate.bundle)
        if __debug__:
            crash_points.reached("bundle-written")
        verdict = _VERDICTS[judgement.verdict]
        figures = {
            f"{gate}.{name}": value
            for gate, result in manifest.gates.items()
            for name, value in result.figures.items()
        }
        figures |= {f"ranking.{name}": value for name, value in manifest.weights["ranking"].items()}
        bundle = ModelBundle(
            name=manifest.name,
            version=manifest.version,
            uri=uri,
            encoder_stamp=manifest.encoder_stamp,
            parent=manifest.parent,
            figures=figures | manifest.weights["adapter"],
            verdict=verdict,
            report=f"{uri}/{REPORT}",
        )
        key = bundle_key(ADAPTER_MODEL, manifest.version).encode()
        done = self._progress(
            run.request.run, "done", version=manifest.version, verdict=verdict, message=judgement.reasons
        )
        self._writer.write(
            [Outgoing(self._settings.topic("models"), key, bundle.to_json(), _headers("models")), done]
        )
        log.info("adapter trained", version=manifest.version, verdict=verdict, says=judgement.reasons)

    def _progress(
        self,
        run: str,
        stage: Stage,
        *,
        done: float = 1.0,
        seconds_left: float | None = None,
        version: str | None = None,
        verdict: Verdict | None = None,
        message: str = "",
    ) -> Outgoing:
        event = TrainingProgress(
            run=run,
            stage=stage,
            done=done,
            seconds_left=seconds_left,
            version=version,
            verdict=verdict,
            message=message,
            at=datetime.now(UTC),
        )
        key = run.encode()
        return Outgoing(self._settings.topic("training"), key, event.to_json(), _headers("training"))


class _Run:
    """One request in a process of its own."""

    def __init__(
        self, settings: Settings, request: TrainingRequest, folder: Path, incumbent: str | None
    ) -> None:
        self.request, self.folder = request, folder
        self.told: Told | None = None
        spawning = multiprocessing.get_context("spawn")
        self._from, into = spawning.Pipe(duplex=False)
        self._process: SpawnProcess = spawning.Process(
            target=_train, args=(into, settings, request, folder, incumbent), daemon=True
        )
        self._process.start()
        into.close()

    def look(self) -> Ended | None:
        """How it ended, None while it runs."""
        try:
            while self._from.poll():
                said = self._from.recv()
                if isinstance(said, Candidate | str):
                    self._process.join()
                    return said
                self.told = said
        except EOFError:
            self._process.join()
            return (
                f"the process of the training ended with code {self._process.exitcode}; see the trainer's log"
            )
        return None

    def stop(self) -> None:
        self._process.kill()
        self._process.join()


def _train(
    into: Connection, settings: Settings, request: TrainingRequest, folder: Path, incumbent: str | None
) -> None:
    """The process: tells how far it is, and last what came out."""
    configure_logging()
    if settings.training.when_idle:
        take_what_is_left()
    threading.Thread(target=_end_with_trainer, daemon=True).start()

    def tell(stage: Stage, done: float, seconds_left: float | None = None) -> None:
        into.send((stage, done, seconds_left))

    try:
        ended: Ended = train(settings, request, folder, incumbent=incumbent, tell=tell)
    except ImportError as error:
        ended = f"{_NO_TORCH} ({error})"
    except TrieflowError as error:
        ended = str(error)
    into.send(ended)


def _end_with_trainer() -> None:
    """A trainer that was killed is started again, and would find this process at the same work."""
    trainer = multiprocessing.parent_process()
    assert trainer is not None
    trainer.join()
    os._exit(1)


def _headers(topic: str) -> list[tuple[str, bytes]]:
    return cloud_event(event_type=TYPES[topic], source=SOURCE)


def run(settings: Settings) -> None:
    """Run the trainer until it is told to stop. Raises TrieflowError when it cannot go on."""
    run_steps(settings, ROLE, Trainer, interval_s=INTERVAL_S)
