"""Fetching jars for real, three small ones of Kafka's list, into empty caches."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from streams.broker.jars import Jar, fetch_jars, locked_jars
from streams.errors import BrokerError

pytestmark = pytest.mark.integration

SMALL = sorted(locked_jars(), key=lambda jar: jar.size)[:3]

FETCH = """
import os, resource, signal, sys
from dataclasses import replace
from pathlib import Path
from streams.broker.jars import fetch_jars, locked_jars
small = sorted(locked_jars(), key=lambda jar: jar.size)[:3]
def progress(stage, share):
    if sys.argv[2] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "starves":  # stands for a full disk: no file may grow beyond 1,000 bytes
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
if sys.argv[2] == "asks for more":
    small.append(replace(small[0], version="0.0.0-none"))
fetch_jars(small, Path(sys.argv[1]), progress)
"""


def fetcher(cache: Path, fate: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", FETCH, str(cache), fate], stderr=subprocess.PIPE)


def names_of_whole(cache: Path, jars: Iterable[Jar]) -> list[str]:
    """The jars in the cache; asserts that none of them is damaged and nothing is left beside them."""
    found = {path.name: path for path in cache.glob("*.jar")}
    for jar in jars:
        if path := found.get(jar.filename):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256
    return sorted(found)


def test_processes_that_fill_an_empty_cache_at_once_do_not_disturb_each_other(tmp_path):
    fetchers = [fetcher(tmp_path, "lives") for _ in range(3)]
    said = [each.communicate()[1].decode() for each in fetchers]
    assert [each.returncode for each in fetchers] == [0, 0, 0], said
    assert names_of_whole(tmp_path, SMALL) == sorted(jar.filename for jar in SMALL)
    assert not (tmp_path / "incoming").exists()


def test_a_fetch_that_was_killed_goes_on_with_what_is_whole(tmp_path):
    with fetcher(tmp_path, "dies") as dying:
        pass
    assert dying.returncode == -9
    kept = names_of_whole(tmp_path, SMALL)
    assert kept
    (tmp_path / "incoming" / "half").mkdir(parents=True)
    times = {name: (tmp_path / name).stat().st_mtime_ns for name in kept}
    fetch_jars(SMALL, tmp_path)
    assert names_of_whole(tmp_path, SMALL) == sorted(jar.filename for jar in SMALL)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in kept} == times, "fetched twice"


def test_a_disk_that_takes_no_more_is_named_and_nothing_half_is_kept(tmp_path):
    _, said = fetcher(tmp_path, "starves").communicate()
    assert f"BrokerError: cannot keep Kafka's jars in {tmp_path}: [Errno 27]" in said.decode()
    assert not list(tmp_path.glob("*.jar"))


def test_a_file_that_a_power_cut_emptied_is_fetched_again(tmp_path):
    fetch_jars(SMALL[:1], tmp_path)
    (tmp_path / SMALL[0].filename).write_bytes(b"")
    fetch_jars(SMALL[:1], tmp_path)
    assert names_of_whole(tmp_path, SMALL) == [SMALL[0].filename]


def test_a_jar_with_another_sum_is_refused_and_not_kept(tmp_path):
    forged = replace(SMALL[0], sha256="0" * 64)
    with pytest.raises(BrokerError, match="it was not kept"):
        fetch_jars([forged], tmp_path)
    assert not list(tmp_path.glob("*.jar"))


def test_a_jar_that_nobody_publishes_is_named(tmp_path):
    _, said = fetcher(tmp_path, "asks for more").communicate()
    assert "-0.0.0-none.jar: no package repository has it" in said.decode()
