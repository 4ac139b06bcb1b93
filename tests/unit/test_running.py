"""Finding the system that runs in a data folder."""

from __future__ import annotations

import os

import pytest

from streams.errors import BrokerError
from streams.settings import Settings
from trieflow.running import AlreadyRunningError, RunningSystem, connected, held, is_held, running_system

SYSTEM = RunningSystem(pid=os.getpid(), brokers="127.0.0.1:9", prefix="shop.", partitions=3, embedded=True)


def test_a_folder_that_nobody_holds_has_no_system_even_with_a_file_left_by_a_kill(tmp_path):
    assert not is_held(tmp_path)
    SYSTEM.write(tmp_path)
    assert running_system(tmp_path) is None


def test_the_holder_is_found_while_it_holds(tmp_path):
    with held(tmp_path / "data"):
        assert running_system(tmp_path / "data") is None
        SYSTEM.write(tmp_path / "data")
        assert running_system(tmp_path / "data") == SYSTEM
    assert running_system(tmp_path / "data") is None
    assert not (tmp_path / "data" / "up.json").exists()


def test_a_second_holder_is_told_who_is_there(tmp_path):
    with held(tmp_path):
        SYSTEM.write(tmp_path)
        with pytest.raises(AlreadyRunningError, match=rf"process {os.getpid()}.*127.0.0.1:9"), held(tmp_path):
            pass


def test_settings_take_what_runs_unless_it_was_named(tmp_path):
    with held(tmp_path):
        SYSTEM.write(tmp_path)
        found = connected(Settings(data=tmp_path))
        assert (found.brokers, found.prefix, found.partitions) == ("127.0.0.1:9", "shop.", 3)
        assert connected(Settings(data=tmp_path, prefix="mine.")).prefix == "mine."
        assert connected(Settings(data=tmp_path, brokers="kafka:9092")).prefix == "trieflow."


def test_nothing_named_and_nothing_running_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(BrokerError, match="trieflow up"):
        connected(Settings(data=tmp_path))
