"""Ports on loopback: free ones, and whether one is taken."""

from __future__ import annotations

import contextlib
import errno
import socket

from vaultak_devstack.errors import PortInUseError

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> tuple[int, ...]:
    """`count` different TCP ports that were free on loopback a moment ago."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind((LOOPBACK, 0))
        return tuple(int(s.getsockname()[1]) for s in sockets)


def free_port() -> int:
    """One free TCP port on loopback."""
    return free_ports(1)[0]


def require_free(port: int, what: str, option: str) -> None:
    """Raise `PortInUseError` when `what` cannot listen on `port`; `option` says how to choose another."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((LOOPBACK, port))
        except OSError as e:
            if e.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            problem = "is in use by another program" if e.errno == errno.EADDRINUSE else "needs privileges"
            raise PortInUseError(f"{what}: port {port} on {LOOPBACK} {problem}; {option}") from None


def accepts(port: int, timeout_s: float = 0.2) -> bool:
    """Whether something listens on the port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout_s).close()
    except OSError:
        return False
    return True
