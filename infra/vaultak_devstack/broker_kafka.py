"""Apache Kafka itself on this machine: one broker, or a cluster of several for tests of failure."""

from __future__ import annotations

import base64
import contextlib
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from vaultak_devstack.errors import (
    DevstackError,
    PortInUseError,
    StartTimeoutError,
    StoreDamagedError,
    StoreLockedError,
)
from vaultak_devstack.files import write_private
from vaultak_devstack.kafka_jars import available, ensure_jars, java
from vaultak_devstack.kafka_probe import wait_until_answers
from vaultak_devstack.kafka_properties import Node, Secured, render, secured_properties, server_properties
from vaultak_devstack.ports import LOOPBACK, free_ports, require_free
from vaultak_devstack.process import ChildProcess

__all__ = ["KafkaBroker", "KafkaCluster", "available"]

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
HEAP_MB = 512

_CONTROLLER_OPTION = "stop what uses it and start again"
_BROKER_OPTION = "choose another with VAULTAK_BROKER_PORT"


class KafkaBroker:
    """One Apache Kafka broker (KRaft, combined mode) on loopback; what it acknowledged is in `data_dir`.

    `port` 0 takes a free one and keeps it through restarts of this object. `node`/`nodes`: its place in a cluster.
    """

    kind = "kafka"

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        port: int = 0,
        log_dir: Path | None = None,
        heap_mb: int = HEAP_MB,
        node: Node | None = None,
        nodes: Sequence[Node] = (),
        cluster_id: str | None = None,
        secured: Secured | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        """`secured`: a listener for `users` (names and passwords) beside the plain one, for tests of rights."""
        self._secured, self._users = secured, dict(users or {})
        self.data_dir = (data_dir or Path(tempfile.mkdtemp(prefix="vaultak-kafka-"))).resolve()
        self._log_dir = log_dir or self.data_dir / "logs"
        self._heap_mb = heap_mb
        if node is None:
            client_port, controller_port = free_ports(2)
            node = Node(1, port or client_port, controller_port)
        self.node = node
        self._nodes = tuple(nodes) or (node,)
        self._cluster_id = cluster_id
        self._child: ChildProcess | None = None

    @property
    def port(self) -> int:
        return self.node.port

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
        """Start and wait until it answers (a few seconds; the first time also fetches the jars).

        Raises `UnavailableError`, `PortInUseError`, `StoreLockedError`, `StoreDamagedError`, `StartTimeoutError`.
        """
        self.launch()
        self.await_answer()

    def launch(self) -> None:
        """Start without waiting: the brokers of a cluster wait for each other."""
        if self.running:
            return
        classpath = f"{ensure_jars()}/*"
        require_free(self.port, "Kafka", _BROKER_OPTION)
        require_free(self.node.controller_port, "Kafka's controller", _CONTROLLER_OPTION)
        properties = self.data_dir / "server.properties"
        told = server_properties(self.node, self._nodes, self._store)
        if self._secured is not None:
            told |= secured_properties(self.node, self._secured)
        write_private(properties, render(told).encode())
        if not (self._store / "meta.properties").exists():
            self._format(classpath, properties)
        self._child = ChildProcess(
            [java(), *self._jvm_options(), "-cp", classpath, "kafka.Kafka", str(properties)],
            name="kafka",
            log_path=self._log_dir / "kafka.log",
            death_signal=signal.SIGTERM,
        )

    def await_answer(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until a launched broker answers."""
        if not wait_until_answers(LOOPBACK, self.port, timeout_s, lambda: self.running):
            raise self._why_not_started(timeout_s)

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop(grace_s=STOP_TIMEOUT_S)
            self._child = None

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def restart(self) -> None:
        """Stop gently and start on the same data and port."""
        self.stop()
        self.start()

    def send_signal(self, number: signal.Signals) -> None:
        """For tests: SIGSTOP and SIGCONT make a broker that hangs."""
        if self._child is not None:
            self._child.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _store(self) -> Path:
        return self.data_dir / "data"

    def _jvm_options(self) -> list[str]:
        return [
            f"-Xmx{self._heap_mb}m",
            "-Xms64m",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-Xshare:auto",
            "-Djava.awt.headless=true",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
        ]

    def _format(self, classpath: str, properties: Path) -> None:
        """Give an empty store its cluster id; Kafka refuses to start without."""
        identity = self._cluster_id or new_cluster_id()
        tool = [java(), *self._jvm_options(), "-cp", classpath, "kafka.tools.StorageTool"]
        result = subprocess.run(  # noqa: S603 - the JVM and jars above
            [
                *tool,
                "format",
                "--cluster-id",
                identity,
                "--config",
                str(properties),
                "--ignore-formatted",
                *self._scram,
            ],
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        if result.returncode != 0:
            lines = (result.stderr or result.stdout).strip().splitlines() or ["no reason given"]
            raise StoreDamagedError(f"Kafka cannot format `{self._store}`: {lines[-1][:300]}")

    @property
    def _scram(self) -> list[str]:
        users = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in self._users.items()]
        return [word for user in users for word in ("--add-scram", user)]

    def _why_not_started(self, timeout_s: float) -> DevstackError:
        if self._child is None:
            return DevstackError("Kafka was not started")
        running, output, log = self._child.running, self._child.output(), self._child.log_path
        self.kill()
        if "Address already in use" in output:
            return PortInUseError(
                f"Kafka: port {self.port} on {LOOPBACK} is in use by another program; {_BROKER_OPTION}"
            )
        if "Failed to acquire lock" in output:
            return StoreLockedError(f"Kafka: `{self.data_dir}` is used by another broker; stop that one first")
        if running:
            return StartTimeoutError(f"Kafka did not answer within {timeout_s:.0f} s; see `{log}`")
        reason = next((line for line in output.splitlines() if "Exception" in line or "ERROR" in line), "it just ended")
        return StoreDamagedError(f"Kafka cannot run on `{self.data_dir}`: {reason.strip()[:300]} (log: `{log}`)")


class KafkaCluster:
    """Several brokers on one machine, replication up to three: for tests of what a cluster survives."""

    kind = "kafka"

    def __init__(self, data_dir: Path | None = None, *, brokers: int = 3, heap_mb: int = 256) -> None:
        root = data_dir or Path(tempfile.mkdtemp(prefix="vaultak-kafka-"))
        ports = free_ports(2 * brokers)
        nodes = tuple(Node(i + 1, ports[2 * i], ports[2 * i + 1]) for i in range(brokers))
        identity = new_cluster_id()
        self.brokers = tuple(
            KafkaBroker(root / f"broker-{n.node_id}", node=n, nodes=nodes, cluster_id=identity, heap_mb=heap_mb)
            for n in nodes
        )

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    @property
    def running(self) -> bool:
        return all(broker.running for broker in self.brokers)

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(pid for broker in self.brokers for pid in broker.pids)

    def start(self) -> None:
        """Start all and wait until all answer."""
        deadline = time.monotonic() + START_TIMEOUT_S
        try:
            for broker in self.brokers:
                broker.launch()
            for broker in self.brokers:
                broker.await_answer(max(1.0, deadline - time.monotonic()))
        except DevstackError:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask all to stop, then wait for each: the last ones have nobody left to hand over to."""
        for broker in self.brokers:
            with contextlib.suppress(ProcessLookupError):
                broker.send_signal(signal.SIGTERM)
        for broker in self.brokers:
            broker.stop()

    def kill(self) -> None:
        for broker in self.brokers:
            broker.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def new_cluster_id() -> str:
    """A random id in Kafka's form: 22 characters of URL-safe Base64, none of them a leading dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text
