"""Ask a broker whether it answers: one ApiVersions request, no client library."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

_API_VERSIONS, _VERSION, _CORRELATION = 18, 0, 0x766B
_CLIENT = b"vaultak-probe"


def answers(host: str, port: int, timeout_s: float = 1.0) -> bool:
    """Whether a Kafka broker answers there. Never raises for what the other end does."""
    header = struct.pack(">hhih", _API_VERSIONS, _VERSION, _CORRELATION, len(_CLIENT)) + _CLIENT
    try:
        with socket.create_connection((host, port), timeout_s) as s:
            s.settimeout(timeout_s)
            s.sendall(struct.pack(">i", len(header)) + header)
            size, correlation, error = struct.unpack(">iih", _read(s, 10))
    except (OSError, EOFError):
        return False
    return bool(correlation == _CORRELATION and error == 0 and size >= 6)


def wait_until_answers(host: str, port: int, timeout_s: float, alive: Callable[[], bool]) -> bool:
    """Poll until the broker answers (True), or time is up or it is no longer `alive` (False)."""
    deadline = time.monotonic() + timeout_s
    while alive() and time.monotonic() < deadline:
        if answers(host, port):
            return True
        time.sleep(0.02)
    return False


def _read(s: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (chunk := s.recv(count - len(data))):
            raise EOFError
        data += chunk
    return data


def reachable(bootstrap_servers: str, *, port_only: bool = False, timeout_s: float = 2.0) -> bool:
    """Whether any of several `host:port` answers; `port_only` for brokers that want TLS first."""
    for server in bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        address = (host.strip("[]"), int(port))
        if _connects(address, timeout_s) if port_only else answers(*address, timeout_s):
            return True
    return False


def _connects(address: tuple[str, int], timeout_s: float) -> bool:
    try:
        socket.create_connection(address, timeout_s).close()
    except OSError:
        return False
    return True
