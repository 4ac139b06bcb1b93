"""Whether a worker lives and is ready, told over HTTP, and where its siblings find it.

`/live` asks: does the event loop turn, and has nothing failed? If not, start the worker again. `/ready` asks: can
it serve now? If not, wait. `/metrics` is for Prometheus, `/status` for people and for `trieflow status`, which
finds workers by the files they keep in `<data>/run`.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import orjson
import psutil
import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app
from pydantic import BaseModel, ConfigDict, ValidationError

from streams.errors import SettingsError
from streams.settings import HealthSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger(__name__)

JSON_TYPE = "application/json"
STOP_POLL_S = 0.1  # a stop waits so long at most
CLOCK_SLACK_S = 2.0  # between the start of a process, as the system tells it, and the wall clock


class Health:
    """What a worker knows of its own health. Thread-safe.

    A worker that never beat is starting: it counts as alive, for loading a model may take longer than any
    liveness limit. A failure is final: the process is to end.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last_beat: float | None = None
        self._failure: str | None = None
        self._components: dict[str, tuple[bool, str]] = {}
        self._details: dict[str, object] = {}

    def beat(self) -> None:
        """The event loop turns."""
        self._last_beat = self._clock()

    def set_ready(self, component: str, ready: bool, detail: str = "") -> None:
        """Say whether a component can serve; the first call registers it."""
        with self._lock:
            self._components[component] = (ready, detail)

    def set_detail(self, name: str, value: object) -> None:
        """Show a value in `/status`: partitions, epoch, number of documents. None takes it away.

        The value is shown by another thread: hand over one that does not change any more.
        """
        with self._lock:
            self._details[name] = value
            if value is None:
                del self._details[name]

    def fail(self, reason: str) -> None:
        """Something failed for good. The first reason is kept: later ones tend to follow from it."""
        with self._lock:
            self._failure = self._failure or reason

    def trouble(self, liveness_s: float) -> str | None:
        """Return why the worker is not alive, None when it is."""
        if self._failure is not None:
            return self._failure
        beat = self._last_beat
        silence = 0.0 if beat is None else self._clock() - beat
        return f"the event loop is silent for {silence:.1f} s" if silence > liveness_s else None

    @property
    def ready(self) -> bool:
        """Whether nothing failed and every component is ready; there must be one."""
        with self._lock:
            states = [ready for ready, _ in self._components.values()]
            return self._failure is None and bool(states) and all(states)

    @property
    def components(self) -> dict[str, dict[str, object]]:
        """Each component with `ready` and `detail`."""
        with self._lock:
            return {
                name: {"ready": ready, "detail": detail} for name, (ready, detail) in self._components.items()
            }

    @property
    def details(self) -> dict[str, object]:
        """What the role wants shown."""
        with self._lock:
            return dict(self._details)


class WorkerFile(BaseModel):
    """What a worker leaves in `<data>/run/<role>-<worker>.json`."""

    model_config = ConfigDict(frozen=True)

    role: str
    worker: str
    pid: int
    url: str
    started_at: datetime

    @property
    def alive(self) -> bool:
        """Whether its process still runs; a younger process that was given the same number does not count."""
        try:
            process = psutil.Process(self.pid)
            born = process.create_time() <= self.started_at.timestamp() + CLOCK_SLACK_S
            return born and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def find_workers(data: Path) -> list[WorkerFile]:
    """Return the workers that left a file in the data folder, by name; ask `alive` for those that were killed."""
    found = []
    for path in sorted((data / "run").glob("*.json")):
        try:
            found.append(WorkerFile.model_validate_json(path.read_bytes()))
        except FileNotFoundError:  # stopped just now
            pass
        except ValidationError as error:
            log.warning("worker_file_unreadable", path=str(path), faults=error.error_count())
    return found


class HealthServer:
    """Serves a worker's health from a thread of its own, so that a stuck event loop can still be seen.

    Raises SettingsError from `start` when the address cannot be used.
    """

    def __init__(
        self,
        settings: HealthSettings,
        *,
        role: str,
        worker: str,
        data: Path,
        health: Health,
        registry: CollectorRegistry,
    ) -> None:
        self._settings = settings
        self._role = role
        self._worker = worker
        self._path = data / "run" / f"{role}-{worker}.json"
        self._health = health
        self._metrics: WSGIApplication = make_wsgi_app(registry)
        self._started_at = datetime.now(UTC)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it serves, as `http://127.0.0.1:40123`. Only after `start`."""
        if self._server is None:
            raise RuntimeError("the health server is not started")
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self._server.server_port}"

    def start(self) -> None:
        """Bind, serve, and leave the file by which siblings find this worker."""
        self._started_at = datetime.now(UTC)
        self._server = _bind(self._settings, self._answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_POLL_S,), name="health", daemon=True
        )
        self._thread.start()
        self._write_file()
        log.info("health_served", url=self.url)

    def stop(self) -> None:
        """Stop serving and take the file away, unless a successor of the same name has left its own."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server = self._thread = None
        try:
            left = WorkerFile.model_validate_json(self._path.read_bytes())
            if left.pid == os.getpid():
                self._path.unlink()
        except (FileNotFoundError, ValidationError):
            pass

    def __enter__(self) -> HealthServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _write_file(self) -> None:
        file = WorkerFile(
            role=self._role, worker=self._worker, pid=os.getpid(), url=self.url, started_at=self._started_at
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_name(f".{uuid.uuid4().hex}.tmp")
        unfinished.write_text(file.model_dump_json(), encoding="utf-8")
        os.replace(unfinished, self._path)

    def _answer(self, request: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = request.get("PATH_INFO", "")
        if path == "/metrics":
            return self._metrics(request, start)
        pages = {"/live": self._live, "/ready": self._ready, "/status": self._status}
        if path in pages:
            good, body = pages[path]()
            status = "200 OK" if good else "503 Service Unavailable"
        else:
            status, body = "404 Not Found", {"pages": [*pages, "/metrics"]}
        content = orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS)
        start(status, [("Content-Type", JSON_TYPE), ("Content-Length", str(len(content)))])
        return [content]

    def _live(self) -> tuple[bool, dict[str, object]]:
        trouble = self._health.trouble(self._settings.liveness_s)
        return trouble is None, {"live": trouble is None, "reason": trouble}

    def _ready(self) -> tuple[bool, dict[str, object]]:
        ready = self._health.ready
        return ready, {"ready": ready, "components": self._health.components}

    def _status(self) -> tuple[bool, dict[str, object]]:
        facts: dict[str, object] = {"role": self._role, "worker": self._worker, "pid": os.getpid()}
        uptime = (datetime.now(UTC) - self._started_at).total_seconds()
        facts |= {"url": self.url, "started_at": self._started_at, "uptime_s": round(uptime, 1)}
        facts |= self._live()[1] | self._ready()[1] | {"details": self._health.details}
        return True, facts


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerOverIPv6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 10.0  # a client that says nothing gives its thread back

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing: probes come every few seconds."""


def _bind(settings: HealthSettings, application: WSGIApplication) -> _Server:
    kind = _ServerOverIPv6 if ":" in settings.host else _Server
    try:
        server = kind((settings.host, settings.port), _Handler)
    except OSError as error:
        address = f"{settings.host}:{settings.port}"
        raise SettingsError(
            f"health.port: cannot serve at {address}: {error}; 0 takes any free port"
        ) from error
    server.set_app(application)
    return server
