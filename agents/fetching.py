"""Fetching content by URL, from a world that may lie, dawdle or point at our own network.

Web addresses are checked at connection time (`connection.py`), so that TLS and the Host header keep the name
while the bytes come from an address that was looked at. Redirects are followed by hand with the same checks.
One deadline covers look-up, connect, headers, body and all retries.
"""

from __future__ import annotations

import os
import socket
import ssl
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import fsspec
import httpcore
import httpx
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from agents.addresses import Address, AddressPolicy, Resolver, is_public, literal_address, resolve
from agents.connection import CheckedBackend, Deadline
from streams.errors import DataError
from streams.settings import ContentSettings

T = TypeVar("T")

# Any other fsspec protocol (ftp, sftp, chained `zip::…`) would open our own network and disk to an event.
OBJECT_STORES = frozenset({"s3", "gs", "gcs", "az", "abfs"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS = [("Accept", "*/*"), ("Accept-Encoding", "identity"), ("User-Agent", "trieflow")]
LOOKUP_THREADS = 8  # name look-ups and object stores know no timeout of ours: so many may hang at once


class TransientError(Exception):
    """A failure that may pass: no connection, a broken answer, 429 or 5xx. Retried, then `unreachable`."""


class Fetcher:
    """Fetches bytes by URL. Thread-safe; every failure is a DataError.

    `forbidden_address` is an address that is not even tried, `unsupported_format` a scheme that is not
    served; `unreachable`, `timeout` and `too_large` are what became of the attempt.
    """

    def __init__(
        self,
        settings: ContentSettings,
        *,
        resolver: Resolver = resolve,
        is_allowed: AddressPolicy = is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._resolver = resolver
        self._is_allowed = is_allowed
        self._tls = tls or httpx.create_ssl_context()
        self._roots = [root.resolve() for root in settings.allowed_roots]
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="fetch-lookup")

    def fetch(self, url: str) -> bytes:
        """Return the content behind the URL, at most `fetch_limit` bytes, within `fetch_timeout_s`."""
        scheme = url.partition(":")[0].lower()
        deadline = Deadline(self._settings.fetch_timeout_s)
        if scheme in {"http", "https"}:
            return self._fetch_web(url, deadline)
        if scheme == "file":
            return self._read_file(url)
        if scheme in OBJECT_STORES:
            return self._within(deadline, lambda: self._read_object(scheme, url))
        raise DataError("unsupported_format", f"content by {scheme[:16]!r} URLs is not fetched")

    def close(self) -> None:
        """Let the look-up threads go. Does not wait for look-ups that hang."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # The web

    def _fetch_web(self, url: str, deadline: Deadline) -> bytes:
        retrying = Retrying(
            stop=stop_after_attempt(self._settings.fetch_attempts) | stop_before_delay(deadline.remaining()),
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
            retry=retry_if_exception_type(TransientError),
            reraise=True,
        )
        try:
            return retrying(self._follow, url, deadline)
        except TransientError as error:
            raise DataError("unreachable", str(error)) from error

    def _follow(self, url: str, deadline: Deadline) -> bytes:
        target = self._checked_url(url)
        for _ in range(self._settings.max_redirects + 1):
            answer = self._get(target, deadline)
            if isinstance(answer, bytes):
                return answer
            target = self._checked_url(answer, base=target)
        raise DataError("unreachable", f"more than {self._settings.max_redirects} redirects")

    def _checked_url(self, url: str, *, base: httpx.URL | None = None) -> httpx.URL:
        try:
            target = httpx.URL(url) if base is None else base.join(url)
        except httpx.InvalidURL as error:
            raise DataError("forbidden_address", f"not a valid URL: {error}") from error
        if target.scheme != "https" and not (target.scheme == "http" and self._settings.allow_http):
            raise DataError("unsupported_format", f"content by {target.scheme[:16]!r} URLs is not fetched")
        if not target.host or target.userinfo or (target.port or 0) > 65535:
            raise DataError("forbidden_address", "a URL must name a host and a port, no user or password")
        return target

    def _get(self, url: httpx.URL, deadline: Deadline) -> bytes | str:
        """Return the body, or the address of a redirect."""
        backend = CheckedBackend(self._addresses, deadline)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = [("Host", url.netloc.decode("ascii")), *HEADERS]
        with (
            _translated(url.host, deadline),
            httpcore.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool,
            pool.stream("GET", target, headers=headers) as response,
        ):
            if response.status in REDIRECTS:
                return _header(response, b"location") or ""
            _check_status(response.status, url.host)
            return _read_body(response, self._settings.fetch_limit)

    def _addresses(self, host: str, port: int, deadline: Deadline) -> list[Address]:
        """Return the addresses of the host, all of them allowed."""
        literal = literal_address(host)
        found = [literal] if literal else self._within(deadline, lambda: self._resolver(host, port))
        if not self._settings.allow_private_addresses and not all(map(self._is_allowed, found)):
            raise DataError("forbidden_address", f"{host!r} is not, or not only, at public addresses")
        return found

    def _within(self, deadline: Deadline, call: Callable[[], T]) -> T:
        """Run a call that knows no timeout; leave it to itself when the deadline passes."""
        future = self._threads.submit(call)
        try:
            return future.result(timeout=deadline.remaining())
        except TimeoutError as error:
            future.cancel()
            raise deadline.passed() from error

    # Files and object stores

    def _read_file(self, url: str) -> bytes:
        try:
            parts = urlsplit(url)
            path = Path(unquote(parts.path)).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a zero byte, a name too long
            raise DataError("unreachable", "not a path of a file") from error
        if parts.netloc not in {"", "localhost"}:
            raise DataError("forbidden_address", "a file: URL must not name a host")
        if not any(path.is_relative_to(root) for root in self._roots):
            raise DataError("forbidden_address", "the file is not below an allowed root")
        try:
            return _read_regular_file(path, self._settings.fetch_limit)
        except OSError as error:
            raise DataError("unreachable", f"cannot read the file: {error.strerror}") from error

    def _read_object(self, scheme: str, url: str) -> bytes:
        if "::" in url:
            raise DataError("forbidden_address", "chained URLs are not fetched")
        limit = self._settings.fetch_limit
        try:
            with fsspec.filesystem(scheme).open(url, "rb") as file:
                content = bytes(file.read(limit + 1))
        except ImportError as error:
            raise DataError("unsupported_format", f"no client for {scheme!r} is installed") from error
        except Exception as error:  # each store has errors of its own
            raise DataError("unreachable", f"the object cannot be read: {type(error).__name__}") from error
        return _bounded(content, limit)


@contextmanager
def _translated(host: str, deadline: Deadline) -> Iterator[None]:
    """Turn errors of the network into DataError (final) or TransientError (worth another try)."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise deadline.passed() from error
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise TransientError(f"{host!r} cannot be looked up now") from error
        raise DataError("unreachable", f"{host!r} has no address") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        raise TransientError(f"{host!r} does not answer: {type(error).__name__}") from error


def _check_status(status: int, host: str) -> None:
    if status == 429 or status >= 500:
        raise TransientError(f"{host!r} answers with status {status}")
    if not 200 <= status < 300:
        raise DataError("unreachable", f"{host!r} answers with status {status}")


def _read_body(response: httpcore.Response, limit: int) -> bytes:
    """Read the body, unpacked; stop at the limit, whatever the headers claim."""
    declared = _header(response, b"content-length") or ""
    if declared.isdecimal() and int(declared) > limit:
        raise DataError("too_large", f"the content has more than {limit} bytes")
    coding = (_header(response, b"content-encoding") or "identity").strip().lower()
    if coding == "identity":
        return _collect(response.iter_stream(), limit)
    if coding in {"gzip", "x-gzip", "deflate"}:
        return _inflate(response.iter_stream(), limit)
    raise DataError("unreachable", f"the content has an unknown coding: {coding[:16]!r}")


def _collect(chunks: Iterable[bytes], limit: int) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        _bounded(body, limit)
    return bytes(body)


def _inflate(chunks: Iterable[bytes], limit: int) -> bytes:
    """Unpack gzip or zlib as it comes. No step makes more than one byte above the limit."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # 32: either header
    body = bytearray()
    try:
        for chunk in chunks:
            body += unpacker.decompress(chunk, limit + 1 - len(body))
            _bounded(body, limit)
            if unpacker.eof:  # what follows is not content; it could go on for ever
                break
    except zlib.error as error:
        raise DataError("unreachable", "the compressed content is damaged") from error
    if not unpacker.eof:
        raise DataError("unreachable", "the compressed content is cut off")
    return bytes(body)


Content = TypeVar("Content", bytes, bytearray)


def _bounded(content: Content, limit: int) -> Content:
    if len(content) > limit:
        raise DataError("too_large", f"the content has more than {limit} bytes")
    return content


def _read_regular_file(path: Path, limit: int) -> bytes:
    # O_NONBLOCK: a named pipe would hold the thread for ever. O_NOFOLLOW: the path was resolved before.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise DataError("unreachable", "not a regular file")
        with open(handle, "rb", closefd=False) as file:
            return _bounded(file.read(limit + 1), limit)
    finally:
        os.close(handle)


def _header(response: httpcore.Response, name: bytes) -> str | None:
    found = (value for key, value in response.headers if key.lower() == name)
    value = next(found, None)
    return None if value is None else value.decode("utf-8", "replace")
