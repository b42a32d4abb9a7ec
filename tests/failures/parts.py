"""A whole deployment of processes, each of which can be killed, frozen and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from vaultak.config import Settings
from vaultak_devstack.broker_embedded import EmbeddedBroker
from vaultak_devstack.broker_kafka import KafkaBroker, KafkaCluster
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_devstack.topics import ensure_topics
from vaultak_streams.store.migrations import migrate

STEADY = "steady"
"""The agent that is never killed: it obeys the operator throughout."""


class Part(Protocol):
    """What a fault is done to."""

    @property
    def pids(self) -> tuple[int, ...]: ...

    def start(self) -> None: ...

    def kill(self) -> None:
        """kill -9."""
        ...


class Process:
    """A command, with its output in a log."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self._command, self._env, self.log = command, env, log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        return () if self._process is None else (self._process.pid,)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._env, stdout=log, stderr=log)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self, timeout_s: float = 60) -> None:
        self._end(signal.SIGTERM, timeout_s)

    def _end(self, number: signal.Signals, timeout_s: float = 10) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Deployment:
    """Broker, ClickHouse, worker, sink and agents over one directory. `kind`: `embedded`, `kafka` or `cluster`."""

    def __init__(self, directory: Path, kind: str, *, agents: int = 2, per_s: float = 40.0) -> None:
        self.directory = directory
        self.broker = _broker(directory, kind)
        self.clickhouse = ClickHouseServer(directory / "clickhouse")
        self._agents, self._per_s = agents, per_s
        self.processes: dict[str, Process] = {}
        self.ledgers: dict[str, Path] = {}

    def start(self) -> None:
        self.broker.start()
        self.clickhouse.start()
        env = {
            "VAULTAK_BOOTSTRAP_SERVERS": self.broker.bootstrap_servers,
            "VAULTAK_TOPIC_PREFIX": "soak",
            "VAULTAK_CLICKHOUSE_DSN": self.clickhouse.dsn("writer"),
            "VAULTAK_DATA_DIR": str(self.directory / "data"),
        }
        self.settings = Settings.from_env(env)
        asyncio.run(ensure_topics(self.broker.bootstrap_servers, self.settings.topics.prefix))
        migrate(self.clickhouse.dsn("admin"))
        (self.directory / "data").mkdir(exist_ok=True)
        environment = {**os.environ, **env}
        self._add("worker", ["-m", "vaultak_streams.agents.worker"], environment)
        self._add("sink", ["-m", "vaultak_streams.sink"], environment)
        script = str(Path(__file__).with_name("agent.py"))
        for name in (STEADY, *(f"agent-{n}" for n in range(self._agents))):
            self.ledgers[name] = self.directory / f"{name}.ledger"
            self._add(name, [script, name, str(self.ledgers[name]), str(self._per_s)], environment)

    def _add(self, name: str, arguments: list[str], env: dict[str, str]) -> None:
        self.processes[name] = Process([sys.executable, *arguments], env, self.directory / f"{name}.log")
        self.processes[name].start()

    @property
    def parts(self) -> dict[str, Part]:
        """What can fail, by name. The embedded broker keeps all in memory: it is left alone."""
        found: dict[str, Part] = {name: part for name, part in self.processes.items() if name != STEADY}
        found["clickhouse"] = self.clickhouse
        if isinstance(self.broker, KafkaCluster):
            found |= {f"broker {one.node.node_id} of {len(self.broker.brokers)}": one for one in self.broker.brokers}
            found["all brokers"] = self.broker
        elif isinstance(self.broker, KafkaBroker):
            found["broker"] = self.broker
        return found

    def written(self, name: str) -> list[str]:
        """The ids in an agent's ledger; a last line that was cut off is none."""
        path = self.ledgers[name]
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def rest(self) -> None:
        """Let the agents finish and end."""
        for name in self.ledgers:
            self.processes[name].stop()

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
        self.clickhouse.stop()
        self.broker.stop()

    def logs(self) -> str:
        return "\n".join(
            f"== {name}\n{p.log.read_text(errors='replace')[-1500:]}" for name, p in self.processes.items()
        )


def _broker(directory: Path, kind: str) -> EmbeddedBroker | KafkaBroker | KafkaCluster:
    make: dict[str, Callable[[], EmbeddedBroker | KafkaBroker | KafkaCluster]] = {
        "embedded": lambda: EmbeddedBroker(log_dir=directory),
        "kafka": lambda: KafkaBroker(directory / "kafka"),
        "cluster": lambda: KafkaCluster(directory / "kafka"),
    }
    return make[kind]()


def freeze(part: Part, seconds: float) -> None:
    """SIGSTOP, and SIGCONT after a while: for everybody else it just hangs."""
    pids = part.pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
