"""A client's end of a proxy, and the operator of the agent behind it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sdk.operator_side import Operator, settings
from vaultak.config import Settings
from vaultak.wire import Topics
from vaultak_devstack.broker import Broker

SERVER = Path(__file__).with_name("tool_server.py")
WAIT_S = 30.0


class Client:
    """The client's end of a proxy that runs as a program of its own."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process, self.folder = process, folder
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._next = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def raw(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def heard(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._lines.get(timeout=WAIT_S))
        return found

    def send(self, method: str, **params: Any) -> int:
        self._next += 1
        self.raw(json.dumps({"jsonrpc": "2.0", "id": self._next, "method": method, "params": params}).encode())
        return self._next

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """A request's answer, which has to come next."""
        message_id = self.send(method, **params)
        answer = self.heard()
        assert answer["id"] == message_id
        return answer

    def call(self, tool: str, text: str = "") -> dict[str, Any]:
        result: dict[str, Any] = self.ask("tools/call", name=tool, arguments={"text": text})["result"]
        return result

    @property
    def did(self) -> list[str]:
        path = self.folder / "did.txt"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Any]:
    """Starts a proxy in front of the server; options are the proxy's, names its environment's."""

    @contextmanager
    def started(*options: str, **more: str) -> Iterator[Client]:
        command = [sys.executable, "-m", "vaultak", "mcp-proxy", "--block", "tool:erase", "--mode", "block", *options]
        env = {
            **os.environ,
            "VAULTAK_DATA_DIR": str(tmp_path / "data"),
            "VAULTAK_BOOTSTRAP_SERVERS": "127.0.0.1:9",
            **more,
        }
        process = subprocess.Popen(
            [*command, "--", sys.executable, str(SERVER), str(tmp_path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env,
        )  # fmt: skip
        try:
            yield Client(process, tmp_path)
        finally:
            process.kill()
            process.wait()

    return started


@pytest.fixture
def operated(tmp_path: Path, broker: Broker, topics: Topics) -> tuple[Settings, Operator]:
    """A deployment whose agents obey this operator."""
    where = settings(tmp_path / "data", broker.bootstrap_servers, topics)
    return where, Operator(where.data_dir, where.bootstrap_servers, topics)
