"""The ClickHouse engine inside this process, listening: what the child process of `ClickHouseServer` runs.

The engine of the chdb-core wheel is ClickHouse whole; `SYSTEM START LISTEN` makes it serve. One engine a process life.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib
import importlib.util
import os
import signal
import sys
import threading
import types
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vaultak_devstack.clickhouse_config import BOOT_MARK, BOOT_QUERIES, load_credentials
from vaultak_devstack.ports import LOOPBACK

EXIT_LOCKED = 3
EXIT_NO_ENGINE = 4
EXIT_FAILED = 1

STOP_TIMEOUT_S = 5.0
_RTLD_DEEPBIND = 0x8


def serve(data_dir: Path, http_port: int) -> int:
    """Serve `data_dir` until SIGTERM or SIGINT. Returns the exit code; complaints go to stderr, one line."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    os.umask(0o077)
    with hold_store(data_dir) as held:
        if not held:
            return _fail(EXIT_LOCKED, f"another process serves {data_dir}")
        try:
            engine = _load_engine()
        except (ImportError, OSError) as e:
            return _fail(EXIT_NO_ENGINE, f"cannot load the engine: {e}")
        return _run(engine, data_dir, http_port, stop)


@contextlib.contextmanager
def hold_store(data_dir: Path) -> Iterator[bool]:
    """Hold the store of a data directory; False when another process does."""
    with (data_dir / "server.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _run(engine: Any, data_dir: Path, http_port: int, stop: threading.Event) -> int:
    failure: list[BaseException] = []

    def boot() -> None:
        try:
            # This format is the default for those who connect, too.
            engine.query("; ".join(BOOT_QUERIES), "TabSeparated", path=str(data_dir / "store"))
        except BaseException as e:  # noqa: BLE001 - reported by the main thread
            failure.append(e)

    os.chdir(data_dir / "conf")  # the engine takes its configuration from the working directory
    session = threading.Thread(target=boot, name="clickhouse", daemon=True)
    session.start()
    while session.is_alive() and not stop.is_set():
        stop.wait(0.25)
    if not stop.is_set():
        return _fail(EXIT_FAILED, str(failure[0]) if failure else "the engine ended by itself")
    _end_session(data_dir, http_port)
    session.join(STOP_TIMEOUT_S)
    return EXIT_FAILED if session.is_alive() else 0


def _load_engine() -> Any:
    """The extension without `chdb/__init__.py`, whose throw-away engine can leave a store that does not reopen."""
    spec = importlib.util.find_spec("chdb")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("chdb-core is not installed")
    package = spec.submodule_search_locations[0]
    module = types.ModuleType("chdb")
    module.__path__ = [package]
    sys.modules["chdb"] = module
    os.chdir(package)
    if sys.platform == "linux":  # its own allocator, whatever else is loaded
        ctypes.CDLL(os.path.join(package, "_chdb.abi3.so"), mode=sys.getdlopenflags() | _RTLD_DEEPBIND)
    return importlib.import_module("chdb._chdb")


def _end_session(data_dir: Path, http_port: int) -> None:
    """Cancel the query that keeps the engine alive; the engine then shuts down in order."""
    password = load_credentials(data_dir).admin
    request = urllib.request.Request(
        f"http://{LOOPBACK}:{http_port}/",
        data=f"KILL QUERY WHERE startsWith(query, '{BOOT_MARK}') ASYNC".encode(),
        headers={"X-ClickHouse-User": "admin", "X-ClickHouse-Key": password},
    )
    with contextlib.suppress(OSError, urllib.error.URLError):
        urllib.request.urlopen(request, timeout=STOP_TIMEOUT_S).read()  # noqa: S310 - as above


def _fail(code: int, message: str) -> int:
    sys.stderr.write(f"vaultak-clickhouse: {message}\n")
    sys.stderr.flush()
    return code
