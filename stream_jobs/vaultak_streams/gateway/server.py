"""Serving the gateway: uvicorn on an already bound socket."""

from __future__ import annotations

import signal
import socket

import uvicorn

from vaultak.config import Settings
from vaultak.policy import PolicySettings
from vaultak_streams.console.entrance import listen
from vaultak_streams.gateway.app import build
from vaultak_streams.gateway.gateway import Gateway
from vaultak_streams.gateway.options import DEFAULT_PORT, GatewayOptions
from vaultak_streams.metrics.attached import attach
from vaultak_streams.metrics.endpoint import Health

STOP_S = 3
"""What requests in hand get when the gateway ends; a stream of commands would otherwise hold it for ever."""

MAX_CONNECTIONS = 4_000


def bind(options: GatewayOptions) -> socket.socket:
    """A bound socket. Raises `ConfigurationError` where that cannot be."""
    ports = (DEFAULT_PORT, 0) if options.port is None else (options.port,)
    return listen(options.host, ports, "VAULTAK_GATEWAY_PORT")


def serve(settings: Settings, options: GatewayOptions, policy: PolicySettings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT ends it. Main thread only."""
    gateway = Gateway(settings, options, policy)
    config = uvicorn.Config(
        build(gateway),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_S,
        limit_concurrency=MAX_CONNECTIONS,
        http="h11",  # httptools, where it is installed, does not bound headers
        h11_max_incomplete_event_size=32 * 1024,
    )
    server = uvicorn.Server(config)

    def stop(_number: int, _frame: object) -> None:
        """Before uvicorn listens to signals; and after, as it raises the one that ended it once more."""
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    health = Health(gateway.not_ready, gateway.silent_s)
    with attach("gateway", settings, gateway.families, health):
        server.run(sockets=[listener])
