"""What every worker process has: logging, a health server, a sensor, an encoder."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Protocol

import structlog

from agents.health import Health, HealthServer
from agents.sensors import PrometheusSensor
from models.encoders.base import Encoder
from models.encoders.cached import FolderVectorStore
from models.encoders.registry import load_encoder
from streams.settings import Settings

log = structlog.get_logger()

_BEHIND_SEARCHERS, _NICEST = 5, 19


class Worker:
    """The surroundings of a role. A context manager: the health server runs inside it."""

    def __init__(self, settings: Settings, role: str) -> None:
        self.settings = settings
        self.role = role
        self.sensor = PrometheusSensor()
        self.health = Health()
        self.health.set_ready("model", False, "loading")
        self._server = HealthServer(
            settings.health,
            role=role,
            worker=settings.worker,
            data=settings.data,
            health=self.health,
            registry=self.sensor.registry,
        )

    def __enter__(self) -> Worker:
        configure_logging()
        self._server.start()
        log.info("worker starts", role=self.role, worker=self.settings.worker, health=self._server.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        log.info("worker stopped", role=self.role, worker=self.settings.worker)

    def load_encoder(self) -> Encoder:
        """As `worker_encoder`."""
        return worker_encoder(self.settings)


def worker_encoder(settings: Settings) -> Encoder:
    """The encoder that the settings name; what it made of a picture is kept in the content store.

    Raises ModelError.
    """
    cache = FolderVectorStore(f"{settings.content_store}/vectors")
    return load_encoder(settings.encoder, threads=settings.encoder_threads, cache=cache)


class Stepping(Protocol):
    """A role that looks now and then, and acts at most once each time."""

    def start(self) -> None: ...
    def step(self) -> None: ...
    def stop(self) -> None: ...


def run_steps(
    settings: Settings, role: str, make: Callable[[Worker], Stepping], *, interval_s: float
) -> None:
    """Run such a role, behind searchers, until it is told to stop. Raises what its methods raise."""
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    let_searchers_go_first()
    with Worker(settings, role) as worker:
        stepping = make(worker)
        try:
            stepping.start()
            while not stopping.wait(interval_s):
                worker.health.beat()
                stepping.step()
        finally:
            stepping.stop()


def let_searchers_go_first() -> None:
    """For roles that nobody waits for: where cores are short, those who ask get them."""
    os.nice(_BEHIND_SEARCHERS)


def take_what_is_left() -> None:
    """For work that can wait: it runs while a core has nothing else to do (on Linux; elsewhere it is only nice)."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(_NICEST)


def configure_logging() -> None:
    """Events with fields, one JSON object a line, to standard error. Libraries from warnings on."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
