"""A web site on loopback that lies, dawdles and never ends."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests import pictures

SLOW_BUT_GOOD_S = 0.1
_CHUNK = bytes(64 * 1024)


class Site(ThreadingHTTPServer):
    daemon_threads = True
    closing = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that turn away, as they should


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        page = getattr(self, "page_" + urlsplit(self.path).path.strip("/").replace("-", "_"), None)
        if page is None:
            self.reply(b"", status=404)
        else:
            page()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def reply(self, body: bytes, *, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length != -1:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def page_good(self) -> None:
        self.reply(pictures.png())

    def page_page(self) -> None:
        self.reply(b"<html>We have moved</html>")

    def page_redirect(self) -> None:
        self.reply(b"", status=302, Location=parse_qs(urlsplit(self.path).query).get("to", ["/redirect"])[0])

    def page_error(self) -> None:
        self.reply(b"", status=500)

    def page_slow_but_good(self) -> None:
        time.sleep(SLOW_BUT_GOOD_S)
        self.page_good()

    def page_endless(self) -> None:
        self.reply(b"", length=-1)
        while not self.server.closing.is_set():
            self.wfile.write(_CHUNK)

    def page_liar(self) -> None:
        self.reply(pictures.png(), length=20)

    def page_cut(self) -> None:
        self.reply(pictures.png(), length=100_000)

    def page_gzip_bomb(self) -> None:
        self.reply(gzip.compress(bytes(64 * 1024 * 1024), 9), Content_Encoding="gzip")

    def page_dribble(self) -> None:
        self.reply(b"", length=1_000_000)
        self._until_gone(b"x")

    def page_silent(self) -> None:
        self._until_gone(b"")

    def _until_gone(self, drop: bytes) -> None:
        self.connection.settimeout(0.05)
        while not self.server.closing.is_set():
            try:
                if drop:
                    self.wfile.write(drop)
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                pass


@contextmanager
def web_site() -> Iterator[str]:
    """Serve until the block ends; gives the address, as `http://127.0.0.1:1234`."""
    with Site(("127.0.0.1", 0), Handler) as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{site.server_port}"
        finally:
            site.closing.set()
            site.shutdown()
            thread.join()
