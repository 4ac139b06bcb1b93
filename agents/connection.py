"""Connections that go to checked addresses only and never outlive their deadline.

`httpcore` asks its network backend for every connection, so this is the one place where a host name becomes
an address: looked up once, checked, and connected to without a second look-up (DNS rebinding finds no gap).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable

import httpcore

from agents.addresses import Address
from streams.errors import DataError


class Deadline:
    """A budget of seconds shared by every step of one fetch."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left. Raises DataError `timeout` when there are none."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> DataError:
        return DataError("timeout", f"not fetched within {self._seconds:g} s")


class CheckedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses only, and holds every read and write to the deadline."""

    def __init__(self, addresses: Callable[[str, int, Deadline], list[Address]], deadline: Deadline) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._addresses(host, port, self._deadline)
        failure: Exception = httpcore.ConnectError("the name has no address")
        for tried, address in enumerate(addresses):
            share = self._deadline.remaining() / (
                len(addresses) - tried
            )  # a dead address leaves time for the next
            try:
                stream = self._sockets.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._deadline)
        raise failure


class _TimedStream(httpcore.NetworkStream):
    """A stream whose every step may take only what is left of the deadline, however slowly the bytes drip."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.remaining())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.remaining())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            secured = self._stream.start_tls(ssl_context, server_hostname, self._deadline.remaining())
        except httpcore.ConnectError as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):  # another try changes nothing
                raise DataError("unreachable", f"{server_hostname!r} shows no valid certificate") from error
            raise
        return _TimedStream(secured, self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)
