"""Real servers on the loopback: HTTP that remembers what reached it, and mail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller


@dataclass
class Web:
    """`/redirect` leads to `/target`, `/missing` is 404, all else answers `hello`."""

    port: int = 0
    reached: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Method, path with query, body."""

    def url(self, path: str, credentials: str = "") -> str:
        return f"http://{credentials}127.0.0.1:{self.port}{path}"


@contextmanager
def serving() -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            web.reached.append((self.command, self.path, body))
            self.send_response({"/redirect": 302, "/missing": 404}.get(self.path, 200))
            if self.path == "/redirect":
                self.send_header("Location", "/target")
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Mailbox:
    port: int = 0
    delivered: list[tuple[list[str], bytes]] = field(default_factory=list)
    """Recipients and content."""

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.delivered.append((envelope.rcpt_tos, envelope.content))
        return "250 OK"


class _AnyPort(Controller):
    """Its own check that it is up connects to the port asked for, which is 0."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def receiving() -> Iterator[Mailbox]:
    box = Mailbox()
    controller = _AnyPort(box, hostname="127.0.0.1", port=0)
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop()
