"""Real servers on loopback. `pictures.test` is the only name that resolves, and leads to them."""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry as fsspec_registry

from agents.addresses import Address, is_public
from agents.fetching import Fetcher
from streams.errors import DataError
from streams.settings import ContentSettings

LOOPBACK = ip_address("127.0.0.1")
CERTIFICATE = Path(__file__).with_name("certificate_of_pictures_test.pem")
LIMIT = 10_000

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers each path with the function that the test put there; counts what was asked."""

    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.hosts.append(self.headers["Host"])
        try:
            self.server.answers[self.path](self)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def reply(self, body: bytes = b"", *, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"content_length": str(len(body))} | headers).items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Site(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.hosts: list[str] = []
        self.closing = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that refuse our certificate

    def url(self, path: str, host: str = "pictures.test", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.server_port}{path}"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def look_up(host: str, port: int) -> list[Address]:
    if host == "pictures.test":
        return [LOOPBACK]
    raise socket.gaierror(socket.EAI_NONAME, "unknown")


def loopback_or_public(address: Address) -> bool:
    return address == LOOPBACK or is_public(address)


FetcherFactory = Callable[..., Fetcher]


@pytest.fixture
def fetcher() -> Iterator[FetcherFactory]:
    made: list[Fetcher] = []

    def make(*, resolver=look_up, is_allowed=loopback_or_public, tls=None, **settings: object) -> Fetcher:
        defaults: dict[str, object] = {"allow_http": True, "fetch_limit": LIMIT, "fetch_timeout_s": 20.0}
        content = ContentSettings.model_validate(defaults | settings)
        made.append(Fetcher(content, resolver=resolver, is_allowed=is_allowed, tls=tls))
        return made[-1]

    yield make
    for one in made:
        one.close()


def code_of(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(DataError) as caught:
        fetcher.fetch(url)
    return caught.value.code


# What is fetched


def test_content_is_fetched_by_name_and_the_host_header_keeps_the_name(site: Site, fetcher: FetcherFactory):
    site.answers["/boots.png?size=2"] = lambda handler: handler.reply(b"boots")
    assert fetcher().fetch(site.url("/boots.png?size=2#top")) == b"boots"
    assert site.hosts == [f"pictures.test:{site.server_port}"]


def test_an_address_written_as_a_number_is_fetched_when_private_ones_are_allowed(
    site: Site, fetcher: FetcherFactory
):
    site.answers["/"] = lambda handler: handler.reply(b"here")
    private = fetcher(is_allowed=is_public, allow_private_addresses=True)
    assert private.fetch(site.url("/", host="127.0.0.1")) == b"here"


def test_redirects_are_followed_also_relative_ones(site: Site, fetcher: FetcherFactory):
    site.answers["/a"] = lambda handler: handler.reply(status=302, location="/b")
    site.answers["/b"] = lambda handler: handler.reply(status=308, location=site.url("/c"))
    site.answers["/c"] = lambda handler: handler.reply(b"found")
    assert fetcher().fetch(site.url("/a")) == b"found"
    assert site.asked == ["/a", "/b", "/c"]


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_content_that_comes_compressed_unasked_is_unpacked(
    site: Site, fetcher: FetcherFactory, coding: str, pack: Callable[[bytes], bytes]
):
    site.answers["/"] = lambda handler: handler.reply(pack(b"x" * LIMIT), content_encoding=coding)
    assert fetcher().fetch(site.url("/")) == b"x" * LIMIT


def test_a_dead_address_of_a_name_leaves_time_for_a_living_one(site: Site, fetcher: FetcherFactory):
    site.answers["/"] = lambda handler: handler.reply(b"alive")
    dead = ip_address("127.0.0.2")  # nobody listens there
    both = fetcher(resolver=lambda host, port: [dead, LOOPBACK], is_allowed=lambda address: True)
    assert both.fetch(site.url("/")) == b"alive"


def test_many_threads_share_one_fetcher(site: Site, fetcher: FetcherFactory):
    for number in range(8):
        site.answers[f"/{number}"] = lambda handler: handler.reply(handler.path.encode())
    shared, found = fetcher(), {}

    def fetch(number: int) -> None:
        found[number] = shared.fetch(site.url(f"/{number}"))

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"/{number}".encode() for number in range(8)}


# Addresses


@pytest.mark.parametrize(
    "host",
    [
        *["127.0.0.1", "127.0.0.2", "10.0.0.1", "169.254.169.254", "192.168.0.1", "0.0.0.0", "[::1]"],
        *["[fe80::1]", "[::ffff:127.0.0.1]", "[2002:7f00:1::]", "[64:ff9b::7f00:1]", ""],
    ],
)
def test_an_address_that_is_not_public_is_never_connected_to(site: Site, fetcher: FetcherFactory, host: str):
    site.answers["/"] = lambda handler: handler.reply(b"secret")
    strict = fetcher(is_allowed=is_public, resolver=lambda host, port: [ip_address("8.8.8.8"), LOOPBACK])
    assert code_of(strict, site.url("/", host=host)) == "forbidden_address"
    assert site.asked == []


@pytest.mark.parametrize(
    "host",
    [
        *["2130706433", "127.1", "0x7f.0.0.1", "0177.0.0.1", "１２７.0.0.1", "127.0.0.1."],
        *["user@pictures.test", "user:word@pictures.test"],
    ],
)
def test_a_disguised_number_or_a_user_name_is_refused_even_where_the_address_is_allowed(
    site: Site, fetcher: FetcherFactory, host: str
):
    site.answers["/"] = lambda handler: handler.reply(b"secret")
    assert code_of(fetcher(), site.url("/", host=host)) == "forbidden_address"
    assert site.asked == []


def test_a_name_with_one_private_address_among_public_ones_is_refused(site: Site, fetcher: FetcherFactory):
    mixed = fetcher(is_allowed=is_public, resolver=lambda host, port: [ip_address("8.8.8.8"), LOOPBACK])
    assert code_of(mixed, site.url("/")) == "forbidden_address"


@pytest.mark.parametrize("target", ["http://127.0.0.2/", "http://10.0.0.1/", "http://[::1]/", "//127.0.0.2/"])
def test_a_redirect_to_a_private_address_is_refused(site: Site, fetcher: FetcherFactory, target: str):
    site.answers["/"] = lambda handler: handler.reply(status=302, location=target)
    assert code_of(fetcher(), site.url("/")) == "forbidden_address"


@pytest.mark.parametrize(
    "target", ["file:///etc/hostname", "ftp://pictures.test/", "s3://bucket/k", "data:,"]
)
def test_a_redirect_to_another_scheme_is_refused(site: Site, fetcher: FetcherFactory, target: str):
    site.answers["/"] = lambda handler: handler.reply(status=302, location=target)
    assert code_of(fetcher(allowed_roots=("/etc",)), site.url("/")) == "unsupported_format"


def test_a_name_is_looked_up_once_for_each_connection_so_it_cannot_change_after_the_check(
    site: Site, fetcher: FetcherFactory
):
    answers = [[LOOPBACK], [ip_address("10.0.0.1")]]
    site.answers["/"] = lambda handler: handler.reply(b"checked")
    rebinding = fetcher(resolver=lambda host, port: answers.pop(0))
    assert rebinding.fetch(site.url("/")) == b"checked"
    assert len(answers) == 1
    assert code_of(rebinding, site.url("/")) == "forbidden_address"


def test_more_redirects_than_allowed_end_the_fetch(site: Site, fetcher: FetcherFactory):
    site.answers["/"] = lambda handler: handler.reply(status=302, location="/")
    assert code_of(fetcher(max_redirects=2), site.url("/")) == "unreachable"
    assert len(site.asked) == 3


# TLS


@pytest.fixture
def secure_site(site: Site) -> Site:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    site.socket = context.wrap_socket(site.socket, server_side=True, do_handshake_on_connect=False)
    return site


def test_tls_is_checked_against_the_name_though_the_connection_goes_to_an_address(
    secure_site: Site, fetcher: FetcherFactory
):
    secure_site.answers["/"] = lambda handler: handler.reply(b"secure")
    trusting = ssl.create_default_context(cafile=CERTIFICATE)
    one_name = fetcher(tls=trusting, allow_http=False)
    assert one_name.fetch(secure_site.url("/", scheme="https")) == b"secure"
    any_name = fetcher(tls=trusting, resolver=lambda host, port: [LOOPBACK])
    assert code_of(any_name, secure_site.url("/", host="other.test", scheme="https")) == "unreachable"
    assert secure_site.asked == ["/"]


def test_a_certificate_that_nobody_trusts_is_not_tried_again(secure_site: Site, fetcher: FetcherFactory):
    looked_up: list[str] = []

    def counting(host: str, port: int) -> list[Address]:
        looked_up.append(host)
        return [LOOPBACK]

    assert code_of(fetcher(resolver=counting), secure_site.url("/", scheme="https")) == "unreachable"
    assert looked_up == ["pictures.test"]


# Sizes and times


def test_content_of_the_limit_is_fetched_and_one_byte_more_is_not(site: Site, fetcher: FetcherFactory):
    site.answers["/fits"] = lambda handler: handler.reply(b"x" * LIMIT)
    site.answers["/more"] = lambda handler: handler.reply(b"x" * (LIMIT + 1))
    assert len(fetcher().fetch(site.url("/fits"))) == LIMIT
    assert code_of(fetcher(), site.url("/more")) == "too_large"


def endless(handler: Handler) -> None:
    handler.reply(content_length="")
    while not handler.server.closing.is_set():
        handler.wfile.write(b"x" * 1_000)


def test_an_endless_body_without_length_stops_at_the_limit(site: Site, fetcher: FetcherFactory):
    site.answers["/"] = endless
    assert code_of(fetcher(), site.url("/")) == "too_large"


def test_an_endless_chunked_body_stops_at_the_limit(site: Site, fetcher: FetcherFactory):
    def chunked(handler: Handler) -> None:
        handler.reply(content_length="", transfer_encoding="chunked")
        while not handler.server.closing.is_set():
            handler.wfile.write(b"3e8\r\n" + b"x" * 1_000 + b"\r\n")

    site.answers["/"] = chunked
    assert code_of(fetcher(), site.url("/")) == "too_large"


def test_a_small_body_that_unpacks_to_a_large_one_stops_at_the_limit(site: Site, fetcher: FetcherFactory):
    bomb = gzip.compress(bytes(5_000_000))
    assert len(bomb) < LIMIT
    site.answers["/"] = lambda handler: handler.reply(bomb, content_encoding="gzip")
    careful = fetcher()
    tracemalloc.start()
    try:
        assert code_of(careful, site.url("/")) == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 2_500_000
    finally:
        tracemalloc.stop()


def test_rubbish_after_a_compressed_body_is_not_collected(site: Site, fetcher: FetcherFactory):
    def followed(handler: Handler) -> None:
        handler.reply(gzip.compress(b"whole"), content_length="", content_encoding="gzip")
        while not handler.server.closing.is_set():
            handler.wfile.write(b"x" * 1_000)

    site.answers["/"] = followed
    assert fetcher().fetch(site.url("/")) == b"whole"


@pytest.mark.parametrize(
    "body", [b"not gzip", gzip.compress(b"x" * 100, mtime=0)[:-9]], ids=["none", "cut short"]
)
def test_a_compressed_body_that_is_damaged_is_refused(site: Site, fetcher: FetcherFactory, body: bytes):
    site.answers["/"] = lambda handler: handler.reply(body, content_encoding="gzip")
    assert code_of(fetcher(), site.url("/")) == "unreachable"


def test_a_body_of_unknown_coding_is_refused(site: Site, fetcher: FetcherFactory):
    site.answers["/"] = lambda handler: handler.reply(b"x", content_encoding="br")
    assert code_of(fetcher(), site.url("/")) == "unreachable"


def drip_body(handler: Handler) -> None:
    handler.reply(content_length="5000")
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b"x")


def drip_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b"x-more: y\r\n")


def never(handler: Handler) -> None:
    handler.server.closing.wait()


@pytest.mark.timeout(60)  # without a total deadline these servers hold a reader for ever
@pytest.mark.parametrize("answer", [drip_body, drip_headers, never])
def test_a_slow_server_is_given_up_at_the_total_deadline(site: Site, fetcher: FetcherFactory, answer: Answer):
    site.answers["/"] = answer
    assert code_of(fetcher(fetch_timeout_s=0.3), site.url("/")) == "timeout"


@pytest.mark.timeout(60)
def test_a_hanging_name_look_up_is_given_up_at_the_deadline(fetcher: FetcherFactory):
    released = threading.Event()

    def hang(host: str, port: int) -> list[Address]:
        released.wait()
        return []

    try:
        assert code_of(fetcher(resolver=hang, fetch_timeout_s=0.2), "http://pictures.test/") == "timeout"
    finally:
        released.set()


@pytest.mark.timeout(25)
def test_a_server_that_never_shakes_hands_is_given_up_at_the_deadline(fetcher: FetcherFactory):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://pictures.test:{silent.getsockname()[1]}/"
        assert code_of(fetcher(fetch_timeout_s=0.2), url) == "timeout"


# Failures and second tries


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(site: Site, fetcher: FetcherFactory, status: int):
    def fails_once(handler: Handler) -> None:
        handler.reply(b"good" if len(site.asked) > 1 else b"", status=200 if len(site.asked) > 1 else status)

    site.answers["/"] = fails_once
    assert fetcher().fetch(site.url("/")) == b"good"
    assert len(site.asked) == 2


def test_a_connection_that_breaks_off_is_tried_again(site: Site, fetcher: FetcherFactory):
    def breaks_once(handler: Handler) -> None:
        handler.reply(b"good", content_length="4" if len(site.asked) > 1 else "4000")

    site.answers["/"] = breaks_once
    assert fetcher().fetch(site.url("/")) == b"good"


def test_a_lasting_failure_ends_after_the_allowed_attempts(site: Site, fetcher: FetcherFactory):
    site.answers["/"] = lambda handler: handler.reply(status=503)
    with pytest.raises(DataError, match="503") as caught:
        fetcher(fetch_attempts=2).fetch(site.url("/"))
    assert caught.value.code == "unreachable"
    assert len(site.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_a_refusal_names_its_status_and_is_not_tried_again(site: Site, fetcher: FetcherFactory, status: int):
    site.answers["/"] = lambda handler: handler.reply(status=status)
    with pytest.raises(DataError, match=str(status)) as caught:
        fetcher().fetch(site.url("/"))
    assert caught.value.code == "unreachable"
    assert len(site.asked) == 1


def test_a_closed_port_and_an_unknown_name_are_unreachable(fetcher: FetcherFactory):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert code_of(fetcher(), f"http://pictures.test:{port}/") == "unreachable"
    assert code_of(fetcher(), "http://unknown.test/") == "unreachable"


def test_bytes_that_are_no_http_are_unreachable(site: Site, fetcher: FetcherFactory):
    site.answers["/"] = lambda handler: handler.wfile.write(b"\x00\xff rubbish\r\n\r\n")
    assert code_of(fetcher(), site.url("/")) == "unreachable"


# Schemes


@pytest.mark.parametrize(
    "url",
    [
        *["ftp://pictures.test/x", "gopher://x", "data:image/png;base64,AA==", "memory://x", "local:///x"],
        *["no url", "", "zip::http://pictures.test/x", "simplecache::file:///etc/passwd", "s3a://bucket/key"],
    ],
)
def test_a_scheme_that_is_not_listed_is_not_served(fetcher: FetcherFactory, url: str):
    assert code_of(fetcher(), url) == "unsupported_format"


def test_http_is_not_served_unless_the_settings_allow_it(site: Site, fetcher: FetcherFactory):
    assert code_of(fetcher(allow_http=False), site.url("/")) == "unsupported_format"
    assert site.asked == []


@pytest.mark.parametrize(
    "url", ["http://", "http://pictures.test:99999/", "http://a.test:port/", "http://a b/\x00"]
)
def test_what_is_no_web_address_is_refused(fetcher: FetcherFactory, url: str):
    assert code_of(fetcher(), url) == "forbidden_address"


def test_an_object_store_is_read_through_fsspec_within_the_limit(
    fetcher: FetcherFactory, monkeypatch: pytest.MonkeyPatch
):
    class Bucket(MemoryFileSystem):
        protocol = "s3"
        store: ClassVar[dict[str, object]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return "/" + path.removeprefix("s3://").lstrip("/")

    monkeypatch.setitem(fsspec_registry, "s3", Bucket)
    Bucket().pipe("s3://pictures/fits.png", b"x" * LIMIT)
    Bucket().pipe("s3://pictures/more.png", b"x" * (LIMIT + 1))
    assert fetcher().fetch("s3://pictures/fits.png") == b"x" * LIMIT
    assert code_of(fetcher(), "s3://pictures/more.png") == "too_large"
    assert code_of(fetcher(), "s3://pictures/absent.png") == "unreachable"
    assert code_of(fetcher(), "s3://pictures::file:///etc/passwd") == "forbidden_address"


# Files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.png").write_bytes(b"secret")
    inside = tmp_path / "pictures"
    inside.mkdir()
    (inside / "red boots.png").write_bytes(b"boots")
    return inside


def test_a_file_below_an_allowed_root_is_read(root: Path, fetcher: FetcherFactory):
    reader = fetcher(allowed_roots=(root,))
    assert reader.fetch((root / "red boots.png").as_uri()) == b"boots"
    assert reader.fetch(f"file://localhost{root}/red%20boots.png") == b"boots"


def test_a_file_elsewhere_is_refused_by_whatever_way(root: Path, fetcher: FetcherFactory):
    (root / "link.png").symlink_to(root.parent / "secret.png")
    (root / "folder").symlink_to(root.parent)
    reader = fetcher(allowed_roots=(root,))
    for path in ["../secret.png", "%2e%2e/secret.png", "link.png", "folder/secret.png"]:
        assert code_of(reader, f"file://{root}/{path}") == "forbidden_address"
    assert code_of(reader, f"file://elsewhere{root}/red%20boots.png") == "forbidden_address"
    assert code_of(reader, f"file://{root}-other/x.png") == "forbidden_address"
    assert code_of(fetcher(), (root / "red boots.png").as_uri()) == "forbidden_address"


def test_what_is_not_a_readable_regular_file_is_unreachable(root: Path, fetcher: FetcherFactory):
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to(root / "loop")
    (root / "folder").mkdir()
    reader = fetcher(allowed_roots=(root,))
    for path in ["absent.png", "pipe", "folder", "zero%00byte", "loop", "x" * 5_000]:
        assert code_of(reader, f"file://{root}/{path}") == "unreachable"
    assert code_of(reader, "file://[") == "unreachable"


def test_a_file_above_the_limit_is_too_large(root: Path, fetcher: FetcherFactory):
    (root / "more.png").write_bytes(b"x" * (LIMIT + 1))
    assert code_of(fetcher(allowed_roots=(root,)), (root / "more.png").as_uri()) == "too_large"
