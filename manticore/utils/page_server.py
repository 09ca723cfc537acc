"""A server of one page on the loopback address, which no other machine can reach."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import urlsplit

from manticore.errors import ManticoreError

HOST = "127.0.0.1"

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer: a page may use its own styles and scripts, and may load nothing but itself."""


class PageServer(ThreadingHTTPServer):
    """Serves a page at `/` while `serve_forever` runs.

    Requests whose Host header is not that of this machine are refused: so a page of the web cannot read the page here
    by a domain name of its own that it points to this machine.

    Args:
        port: 0 takes a free one.
        make_page: the HTML text. It is called for each request, one at a time; a ManticoreError is answered as text
            with the status 503.

    Raises ManticoreError if the port is in use or not allowed.
    """

    daemon_threads = True

    def __init__(self, port: int, make_page: Callable[[], str]) -> None:
        self.make_page, self.lock = make_page, Lock()
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ManticoreError(
                    f"port {port} is in use by another program; choose another with --port, or --port 0 for a free one"
                ) from None
            if error.errno == errno.EACCES:
                raise ManticoreError(f"port {port} is not allowed for this user; choose one above 1023") from None
            raise

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing where the browser has closed the connection before it was answered."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in (HOST, "localhost"):
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "this server answers to this machine alone\n")
        elif self.path == "/favicon.ico":
            self._answer(HTTPStatus.NO_CONTENT, "image/x-icon", "")
        elif self.path != "/":
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "there is one page here: /\n")
        else:
            try:
                with self.server.lock:
                    page = self.server.make_page()
            except ManticoreError as error:
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{error}\n")
            else:
                self._answer(HTTPStatus.OK, "text/html", page)

    def _answer(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": f"{kind}; charset=utf-8", **HEADERS}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
