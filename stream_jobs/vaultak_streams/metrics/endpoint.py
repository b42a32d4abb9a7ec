"""`/metrics`, `/healthz` and `/readyz` of one process, on a thread of its own: they answer while its loop is busy."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import structlog
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from vaultak.errors import ConfigurationError
from vaultak_devstack.files import write_private
from vaultak_streams.metrics.families import Families, Reading
from vaultak_streams.metrics.options import MetricsAddress

log = structlog.get_logger("vaultak.metrics")

PORTS_TRIED = 32
"""From the wanted port on: so many processes of one host can share a setting."""

REQUEST_S = 5.0
MAX_AT_ONCE = 8

SILENT_S = 60.0
"""A loop that has not moved for so long hangs. A slow insert may take some time; a minute is none."""

Readiness = Callable[[], str]
"""Why the process is not ready; empty: it is."""


class Health:
    """Whether a process lives and is ready. `silent_s`: for how long its loop has not moved."""

    def __init__(self, not_ready: Readiness, silent_s: Callable[[], float]) -> None:
        self._not_ready, self._silent_s = not_ready, silent_s

    def alive(self) -> str:
        """Empty, or what is wrong."""
        silent_s = self._silent_s()
        return f"silent for {silent_s:.0f} s" if silent_s > SILENT_S else ""

    def ready(self) -> str:
        """Empty, or what is wrong. What hangs is not ready either."""
        return self.alive() or self._not_ready()


class Endpoint:
    """Serves until closed. `directory` gets a file `<name>.json` with the address, as Prometheus' file_sd reads it."""

    def __init__(
        self, name: str, address: MetricsAddress, families: Families, health: Health, directory: Path | None = None
    ) -> None:
        registry = CollectorRegistry()
        registry.register(Reading(families))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._server = _bind(address, _handler(registry, health))
        self._target = directory / f"{name}.json" if directory else None
        self.address = f"{_shown(self._server.server_address[0])}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="vaultak-metrics", daemon=True)
        self._thread.start()
        if self._target:
            target = [{"targets": [self.address], "labels": {"job": "vaultak", "process": name}}]
            write_private(self._target, json.dumps(target).encode())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        if self._target:
            self._target.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


def _bind(address: MetricsAddress, handler: type[BaseHTTPRequestHandler]) -> _Server:
    class Server(_Server):
        address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET

    ports = [0] if address.port == 0 else range(address.port, min(address.port + PORTS_TRIED, 65536))
    error: OSError | None = None
    for port in ports:
        try:
            return Server((address.host, port), handler)
        except OSError as e:
            error = e
    raise ConfigurationError(f"VAULTAK_METRICS: cannot listen at `{address.host}:{address.port}`: {error}") from None


def _handler(registry: CollectorRegistry, health: Health) -> type[BaseHTTPRequestHandler]:
    slots = threading.BoundedSemaphore(MAX_AT_ONCE)

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_S
        server_version = "vaultak"
        sys_version = ""

        def do_GET(self) -> None:
            if not slots.acquire(blocking=False):
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"busy\n")
                return
            try:
                self._get(self.path.split("?", 1)[0])
            finally:
                slots.release()

        def _get(self, path: str) -> None:
            if path == "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(HTTPStatus.OK, content_type, encode(registry))
            elif path in ("/healthz", "/readyz"):
                wrong = health.alive() if path == "/healthz" else health.ready()
                status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
                self._answer(status, "text/plain; charset=utf-8", f"{_line(wrong) or 'ok'}\n".encode())
            else:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/metrics, /healthz, /readyz\n")

        def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Scrapes are not news."""

    return Handler


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text)[:500]


def _shown(host: object) -> str:
    text = str(host)
    return f"[{text}]" if ":" in text else text


def targets_directory(data_dir: Path) -> Path:
    """Where the processes of a host say at which address their metrics are."""
    return data_dir / "metrics"
