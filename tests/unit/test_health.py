from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from agents.health import Health, HealthServer, WorkerFile, find_workers
from agents.sensors import PrometheusSensor
from streams.errors import SettingsError
from streams.settings import HealthSettings


class HandClock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def health(clock: HandClock) -> Health:
    return Health(clock=clock)


@pytest.fixture
def sensor() -> PrometheusSensor:
    return PrometheusSensor()


def serve(health: Health, data: Path, sensor: PrometheusSensor, **settings: object) -> HealthServer:
    return HealthServer(
        HealthSettings.model_validate({"liveness_s": 15.0} | settings),
        role="indexer",
        worker="a",
        data=data,
        health=health,
        registry=sensor.registry,
    )


@pytest.fixture
def server(health: Health, tmp_path: Path, sensor: PrometheusSensor) -> Iterator[HealthServer]:
    with serve(health, tmp_path, sensor) as running:
        yield running


def get(server: HealthServer, path: str) -> httpx.Response:
    return httpx.get(server.url + path, trust_env=False)


# Live


def test_a_worker_that_is_starting_is_alive(server: HealthServer, clock: HandClock):
    clock.now += 3_600
    assert get(server, "/live").status_code == 200


def test_a_worker_whose_event_loop_turns_is_alive_and_one_that_is_silent_is_not(
    server: HealthServer, health: Health, clock: HandClock
):
    health.beat()
    clock.now += 14.9
    assert get(server, "/live").json() == {"live": True, "reason": None}
    clock.now += 0.2
    answer = get(server, "/live")
    assert answer.status_code == 503
    assert answer.json() == {"live": False, "reason": "the event loop is silent for 15.1 s"}
    health.beat()
    assert get(server, "/live").status_code == 200


def test_a_failure_is_final_and_its_first_reason_is_shown(server: HealthServer, health: Health):
    health.set_ready("partitions", True)
    health.fail("fenced")
    health.fail("consumer stopped")
    health.beat()
    answer = get(server, "/live")
    assert answer.status_code == 503
    assert answer.json()["reason"] == "fenced"
    assert get(server, "/ready").status_code == 503


# Ready


def test_a_worker_is_ready_when_every_component_is(server: HealthServer, health: Health):
    assert get(server, "/ready").status_code == 503
    health.set_ready("model", True)
    health.set_ready("partitions", False, "opening 3")
    answer = get(server, "/ready")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "components": {
            "model": {"ready": True, "detail": ""},
            "partitions": {"ready": False, "detail": "opening 3"},
        },
    }
    health.set_ready("partitions", True)
    assert get(server, "/ready").status_code == 200


# Metrics and status


def test_metrics_of_the_sensor_are_served(server: HealthServer, sensor: PrometheusSensor):
    sensor.document_done("indexed", 0.1)
    answer = get(server, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'trieflow_documents_total{status="indexed"} 1.0' in answer.text


def test_status_tells_who_where_since_when_and_what_the_role_shows(server: HealthServer, health: Health):
    health.set_ready("model", True)
    health.set_detail("partitions", {3: "open", 5: "replaying"})
    health.set_detail("since", datetime(2026, 1, 2, tzinfo=UTC))
    health.set_detail("gone", 1)
    health.set_detail("gone", None)
    health.set_detail("never", None)
    health.set_detail("shards", Path("shards"))
    status = get(server, "/status").json()
    assert (status["role"], status["worker"], status["pid"]) == ("indexer", "a", os.getpid())
    assert status["url"] == server.url
    assert status["uptime_s"] >= 0
    assert status["live"] is True
    assert status["ready"] is True
    assert status["components"]["model"]["ready"] is True
    assert status["details"] == {
        "partitions": {"3": "open", "5": "replaying"},
        "since": "2026-01-02T00:00:00+00:00",
        "shards": "shards",
    }


def test_an_unknown_page_names_the_pages_there_are(server: HealthServer):
    answer = get(server, "/")
    assert answer.status_code == 404
    assert answer.json()["pages"] == ["/live", "/ready", "/status", "/metrics"]


def test_a_client_that_says_nothing_does_not_hold_up_others(server: HealthServer):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))):
        assert get(server, "/live").status_code == 200


def test_components_may_change_from_many_threads_while_status_is_read(server: HealthServer, health: Health):
    def change(number: int) -> None:
        for step in range(300):
            health.set_ready(f"{number}-{step}", True)
            health.set_detail(f"{number}-{step}", step)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    codes = [get(server, "/status").status_code for _ in range(20)]
    for thread in threads:
        thread.join()
    assert set(codes) == {200}
    assert len(get(server, "/status").json()["components"]) == 1_200


# The address


def test_it_binds_to_loopback_and_a_taken_port_is_a_fault_of_the_settings(
    server: HealthServer, tmp_path: Path, sensor: PrometheusSensor
):
    assert server.url.startswith("http://127.0.0.1:")
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(SettingsError, match=r"health\.port"):
        serve(Health(), tmp_path, sensor, port=port).start()


def test_it_serves_over_ipv6_too(health: Health, tmp_path: Path, sensor: PrometheusSensor):
    if not socket.has_ipv6 or not _loopback_of_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    with serve(health, tmp_path, sensor, host="::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert get(server, "/live").status_code == 200


def _loopback_of_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


# The worker's file


def test_a_worker_is_found_while_it_serves_and_no_more_after_a_clean_stop(
    health: Health, tmp_path: Path, sensor: PrometheusSensor
):
    assert find_workers(tmp_path) == []
    with serve(health, tmp_path, sensor) as server:
        (found,) = find_workers(tmp_path)
        assert (found.role, found.worker, found.pid, found.url) == ("indexer", "a", os.getpid(), server.url)
        assert found.alive
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["indexer-a.json"]
    assert find_workers(tmp_path) == []


def test_stopping_twice_is_harmless(health: Health, tmp_path: Path, sensor: PrometheusSensor):
    server = serve(health, tmp_path, sensor)
    server.stop()
    server.start()
    server.stop()
    server.stop()


def write(data: Path, **fields: object) -> Path:
    path = data / "run" / "indexer-a.json"
    path.parent.mkdir(exist_ok=True)
    facts = {"role": "indexer", "worker": "a", "url": "http://127.0.0.1:1", "started_at": datetime.now(UTC)}
    path.write_text(WorkerFile.model_validate(facts | fields).model_dump_json())
    return path


def test_the_file_of_a_successor_is_left_alone(server: HealthServer, tmp_path: Path):
    path = write(tmp_path, pid=os.getppid())
    server.stop()
    assert path.exists()


def test_a_worker_that_was_killed_is_known_not_to_be_alive(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        write(tmp_path, pid=process.pid)
        assert find_workers(tmp_path)[0].alive
        process.kill()
    assert not find_workers(tmp_path)[0].alive


def test_a_younger_process_with_the_same_number_is_not_the_worker(tmp_path: Path):
    write(tmp_path, pid=os.getpid(), started_at=datetime.now(UTC) - timedelta(days=30_000))
    assert not find_workers(tmp_path)[0].alive


def test_a_file_that_is_no_worker_is_passed_over(tmp_path: Path):
    path = write(tmp_path, pid=os.getpid())
    path.with_name("broken.json").write_bytes(b"{")
    assert [worker.role for worker in find_workers(tmp_path)] == ["indexer"]
