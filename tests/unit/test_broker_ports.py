from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from streams.broker.ports import free_port, is_free, kept_port
from streams.errors import BrokerError


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        yield server.getsockname()[1]


def test_the_chosen_port_is_kept_in_the_folder(tmp_path):
    first = kept_port(tmp_path, None)
    assert kept_port(tmp_path, None) == first
    assert (tmp_path / "port").read_text() == str(first)


def test_a_wanted_port_replaces_the_kept_one(tmp_path):
    kept_port(tmp_path, None)
    wanted = free_port()
    assert kept_port(tmp_path, wanted) == wanted
    assert kept_port(tmp_path, None) == wanted


def test_a_taken_port_is_named_with_what_to_do(tmp_path, taken_port):
    with pytest.raises(BrokerError, match=rf"port {taken_port} .* is taken .* give another port"):
        kept_port(tmp_path, taken_port)
    assert not (tmp_path / "port").exists(), "a port that cannot be used must not be kept"


def test_a_spoilt_port_file_is_named(tmp_path):
    (tmp_path / "port").write_text("ninety-two")
    with pytest.raises(BrokerError, match="does not hold a port number"):
        kept_port(tmp_path, None)


def test_a_port_with_a_server_is_not_free(taken_port):
    assert not is_free(taken_port)


def test_free_ports_lie_below_those_drawn_for_outgoing_connections():
    ports = [free_port() for _ in range(50)]
    assert max(ports) < 32_768
    assert min(ports) > 1_024
