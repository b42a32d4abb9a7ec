"""A genuine ClickHouse server on this machine, out of the chdb-core wheel, as a child process.

`python -m vaultak_devstack.clickhouse_server DATA_DIR HTTP_PORT` is that child.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from vaultak_devstack import clickhouse_config as config
from vaultak_devstack import clickhouse_engine as engine
from vaultak_devstack.clickhouse_config import DATABASE, Credentials, Role
from vaultak_devstack.errors import (
    DevstackError,
    PortInUseError,
    StartTimeoutError,
    StoreDamagedError,
    StoreLockedError,
    UnavailableError,
)
from vaultak_devstack.ports import LOOPBACK, free_ports, require_free
from vaultak_devstack.process import ChildProcess

TESTED_VERSION = "26.9.0"
"""Of chdb-core: what listens, and how its configuration is read, is no public interface of the wheel."""

START_TIMEOUT_S = 30.0
_PORT_HINT = "choose others with VAULTAK_CLICKHOUSE_PORT, or set VAULTAK_CLICKHOUSE_DSN to a server"


class ClickHouseServer:
    """ClickHouse over HTTP and its native protocol, on loopback, with users `admin`, `writer` and `viewer`.

    What was acknowledged survives `kill`. `http_port`/`tcp_port` 0 takes free ones. `database_prefix` extends the
    roles' grants to every database whose name begins with `vaultak` (for tests).
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        http_port: int = 0,
        tcp_port: int = 0,
        *,
        log_dir: Path | None = None,
        database_prefix: bool = False,
    ) -> None:
        self.data_dir = (data_dir or Path(tempfile.mkdtemp(prefix="vaultak-clickhouse-"))).resolve()
        self.http_port = http_port
        self.tcp_port = tcp_port
        self._log_dir = log_dir or self.data_dir / "logs"
        self._database_prefix = database_prefix
        self._credentials: Credentials | None = None
        self._child: ChildProcess | None = None

    @property
    def credentials(self) -> Credentials:
        if self._credentials is None:
            self._credentials = config.load_credentials(self.data_dir)
        return self._credentials

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pids(self) -> tuple[int, ...]:
        return (self._child.pid,) if self._child is not None and self._child.running else ()

    def dsn(self, role: Role = "admin", database: str = DATABASE) -> str:
        """`clickhouse://role:password@127.0.0.1:port/database`: HTTP, for clickhouse-connect."""
        return config.dsn(self.credentials, role, self.http_port, database)

    def start(self) -> None:
        """Start, wait until it answers (about half a second), make sure of the database.

        Raises `PortInUseError`, `StoreLockedError`, `StoreDamagedError`, `UnavailableError`, `StartTimeoutError`.
        """
        if self.running:
            return
        _require_engine()
        (self.data_dir / "logs").mkdir(parents=True, exist_ok=True, mode=0o700)
        with engine.hold_store(self.data_dir) as held:
            if not held:
                raise _locked(self.data_dir)
        self._choose_ports()
        config.write_config(
            self.data_dir,
            self.credentials,
            http_port=self.http_port,
            tcp_port=self.tcp_port,
            database_prefix=self._database_prefix,
        )
        module = "vaultak_devstack.clickhouse_server"
        self._child = ChildProcess(
            [sys.executable, "-m", module, str(self.data_dir), str(self.http_port)],
            name="clickhouse",
            log_path=self._log_dir / "clickhouse.out.log",
            death_signal=signal.SIGTERM,
        )
        self._await_answer()
        self.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")

    def stop(self) -> None:
        """Stop in order, which flushes its logs (about 0.3 s). Idempotent."""
        if self._child is not None:
            self._child.stop(grace_s=engine.STOP_TIMEOUT_S + 2)
            self._child = None

    def kill(self) -> None:
        """kill -9, for tests of what survives it."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def execute(self, sql: str, role: Role = "admin") -> str:
        """Run one statement over HTTP. For supervision and tests; raises `DevstackError` with the server's words."""
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{self.http_port}/",
            data=sql.encode(),
            headers={"X-ClickHouse-User": role, "X-ClickHouse-Key": self.credentials.of(role)},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - as above
                return str(response.read().decode())
        except urllib.error.HTTPError as e:
            raise DevstackError(f"ClickHouse: {e.read().decode(errors='replace').strip()[:500]}") from None
        except OSError as e:
            raise DevstackError(f"ClickHouse does not answer on {LOOPBACK}:{self.http_port}: {e}") from None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _choose_ports(self) -> None:
        free = iter(free_ports(2))
        for name in ("http_port", "tcp_port"):
            if port := getattr(self, name):
                require_free(port, "ClickHouse", _PORT_HINT)
            else:
                setattr(self, name, next(free))

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.running and time.monotonic() < deadline:
            if self._answers():
                return
            time.sleep(0.02)
        raise self._why_not_started()

    def _answers(self) -> bool:
        """The right server, not just any: it has to know our password."""
        try:
            return self.execute("SELECT 1") == "1\n"
        except DevstackError:
            return False

    def _why_not_started(self) -> DevstackError:
        assert self._child is not None
        code, output, log = self._child.returncode, self._child.output(), self._child.log_path
        self.kill()
        return explain(code, output, self.data_dir, (self.http_port, self.tcp_port), log)


def explain(code: int | None, output: str, data_dir: Path, ports: tuple[int, int], log: Path) -> DevstackError:
    """Why a server that ended with `code` (None: still running) and this `output` did not come up."""
    if code == engine.EXIT_LOCKED or re.search(r"Cannot lock file|already running|lock on .*status", output):
        return _locked(data_dir)
    if re.search(r"Address already in use|EADDRINUSE|Listen .*failed", output):
        return PortInUseError(f"ClickHouse: one of the ports {ports[0]} and {ports[1]} is in use; {_PORT_HINT}")
    if code == engine.EXIT_NO_ENGINE or "start_servers_callback" in output or "LISTEN" in _first_exception(output):
        return UnavailableError(
            f"ClickHouse: the installed chdb-core ({_installed_version()}) cannot listen;"
            f" install chdb-core=={TESTED_VERSION}"
        )
    if code is None:
        return StartTimeoutError(f"ClickHouse did not answer within {START_TIMEOUT_S:.0f} s; see `{log}`")
    reason = _first_exception(output) or f"ended with code {code}"
    return StoreDamagedError(
        f"ClickHouse cannot open `{data_dir}`: {reason}; restore a backup or move the folder away (log: `{log}`)"
    )


def _locked(data_dir: Path) -> StoreLockedError:
    return StoreLockedError(f"ClickHouse: `{data_dir}` is served by another process; stop that one first")


def _first_exception(output: str) -> str:
    found = re.search(r"(Code: \d+\. DB::.*?Exception: [^\n]{1,300})", output)
    return found.group(1).strip() if found else ""


def _installed_version() -> str:
    try:
        return importlib.metadata.version("chdb-core")
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _require_engine() -> None:
    if _installed_version() == "none":
        raise UnavailableError(
            "ClickHouse is not installed: `pip install vaultak[pipeline]`, or set VAULTAK_CLICKHOUSE_DSN to a server"
        )


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or not arguments[1].isdigit():
        sys.stderr.write("usage: python -m vaultak_devstack.clickhouse_server DATA_DIR HTTP_PORT\n")
        return 2
    code = engine.serve(Path(arguments[0]), int(arguments[1]))
    sys.stderr.flush()
    # Not through the interpreter's end: the engine's threads and destructors do not all expect it.
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
