"""Where the console is reached: a bound socket, so that the address is known before anybody is told."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from vaultak.errors import ConfigurationError
from vaultak_streams.console.options import DEFAULT_PORT, ConsoleOptions

BACKLOG = 128


def bind(options: ConsoleOptions) -> socket.socket:
    """A bound socket. Raises `ConfigurationError` where that cannot be."""
    ports = (DEFAULT_PORT, 0) if options.port is None else (options.port,)
    return listen(options.host, ports, "VAULTAK_CONSOLE_PORT")


def listen(host: str, ports: Sequence[int], variable: str) -> socket.socket:
    """A socket bound to the first of these ports that is free. Raises `ConfigurationError` naming the variable."""
    for port in ports:
        try:
            return _bound(host, port)
        except OSError as e:
            if port == ports[-1]:
                raise ConfigurationError(
                    f"{variable}: cannot listen at `{host}:{port}` ({e.strerror}); choose another"
                ) from None
    raise AssertionError(ports)


def _bound(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)  # two sockets may be bound to one address; only one may listen
    except OSError:
        listener.close()
        raise
    return listener


def address(listener: socket.socket) -> str:
    """`http://host:port` of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def entrance(options: ConsoleOptions, at: str) -> str:
    """What to open in a browser: with the token, where that is the way in."""
    return f"{at}/login?token={options.token}" if options.way_in == "token" else at


def address_path(data_dir: Path) -> Path:
    """Where a console that the local stack runs says at which address it is."""
    return data_dir / "console" / "address"
