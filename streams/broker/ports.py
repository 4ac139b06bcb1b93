"""The loopback ports of the embedded broker: chosen once, kept in the data folder, told apart when taken."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

from streams.broker.properties import HOST
from streams.errors import BrokerError

# Below the range from which the systems draw ports for outgoing connections (Linux from 32768, macOS from
# 49152): there a client that calls a stopped broker again and again can be given the very port it calls, is
# connected with itself, and keeps the port from the broker.
_CHOICE = range(20_000, 32_000)
_TRIES = 200


def kept_port(data: Path, wanted: int | None) -> int:
    """Return the port of the broker in `data`: `wanted`, else the one kept there, else a new one; keep it.

    Raises BrokerError when that port is taken.
    """
    file = data / "port"
    port = wanted or _read(file)
    if port is not None and not is_free(port):
        raise BrokerError(
            f"port {port} on {HOST} is taken by another program (`lsof -i :{port}` names it): stop that "
            f"program, give another port, or delete {file} to have a free one chosen"
        )
    port = port or free_port()
    new = file.with_name("port.new")
    new.write_text(str(port))
    os.replace(new, file)
    return port


def _read(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BrokerError(f"{file} does not hold a port number: delete it") from error


def is_free(port: int) -> bool:
    """Whether a server can listen on the loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as Java does: closed connections do not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port(*, other_than: int = 0) -> int:
    """Return a port that is free now. Raises BrokerError when none is found."""
    for port in random.SystemRandom().sample(_CHOICE, _TRIES):
        if port != other_than and is_free(port):
            return port
    raise BrokerError(f"no free port on {HOST} between {_CHOICE.start} and {_CHOICE.stop}")
