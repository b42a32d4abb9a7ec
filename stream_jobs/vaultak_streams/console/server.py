"""Serving the console: uvicorn on an already bound socket."""

from __future__ import annotations

import socket
from pathlib import Path

import uvicorn

from vaultak.config import Settings
from vaultak_devstack.keys import command_signer, load_or_create_key
from vaultak_streams.console.app import build
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.options import ConsoleOptions
from vaultak_streams.console.reading import Reader

STOP_S = 2
"""What requests in hand get when the console ends; a live page would otherwise hold it for ever."""


def serve(settings: Settings, dsn: str, options: ConsoleOptions, listener: socket.socket) -> None:
    """Serve until a signal ends it. `dsn` should name the viewer."""
    desk = Desk(settings=settings, reader=Reader(dsn), sign=command_signer(settings.data_dir))
    config = uvicorn.Config(
        build(desk, options, session_secret(settings.data_dir)),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the gate looks at the peer itself
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=32 * 1024,
    )
    uvicorn.Server(config).run(sockets=[listener])


def session_secret(data_dir: Path) -> bytes:
    """What signs sessions: derived from the deployment's own key, so a restart signs nobody out."""
    return load_or_create_key(data_dir).sign(b"vaultak console sessions v1")
