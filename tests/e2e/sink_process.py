"""The sink in a process of its own, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from vaultak import wire
from vaultak_devstack.broker import Broker


class SinkProcess:
    """The sink as it runs in production: a process that can be killed."""

    def __init__(self, broker: Broker, topics: wire.Topics, dsn: str, data_dir: Path) -> None:
        self._env = {
            **os.environ,
            "VAULTAK_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "VAULTAK_TOPIC_PREFIX": topics.prefix,
            "VAULTAK_CLICKHOUSE_DSN": dsn,
            "VAULTAK_DATA_DIR": str(data_dir),
        }
        self._log = data_dir / "sink.log"
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "vaultak_streams.sink"]
            self._process = subprocess.Popen(command, env=self._env, stdout=log, stderr=log)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        self._process.terminate()
        return self._process.wait(20)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")
