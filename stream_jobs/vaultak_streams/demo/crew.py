"""The demo's agents as child processes, and what they report."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaultak.errors import VaultakError

Milestone = dict[str, Any]


class DemoError(VaultakError):
    """The demonstration did not get as far as it should; the message says where it stopped."""


class Agent:
    """One agent in a process of its own; its milestones arrive as JSON lines."""

    def __init__(self, role: str, workplace: Path, rounds: int, env: Mapping[str, str], log: Path) -> None:
        self.role = role
        self.milestones: list[Milestone] = []
        self._arrived: queue.Queue[Milestone | None] = queue.Queue(maxsize=10_000)
        self._log = log.open("wb")
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "vaultak_streams.demo.agents", role, str(workplace), str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **env},
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._arrived.put(json.loads(line))
        self._arrived.put(None)

    def wait_for(self, *names: str, timeout_s: float) -> Milestone:
        """The next milestone with one of these names. Raises `DemoError` when the agent ends or the time is up."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                milestone = self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise DemoError(f"{self.role} did not report {' or '.join(names)} within {timeout_s:.0f} s") from None
            if milestone is None:
                raise DemoError(f"{self.role} ended before {' or '.join(names)}; its log: {self._log.name}")
            self.milestones.append(milestone)
            if milestone["milestone"] in names:
                return milestone

    def signal(self) -> None:
        """Let an agent that waits for it go on."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()

    def finish(self, timeout_s: float) -> int:
        """Wait for its end; returns the exit code. Kills it when the time is up."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self._log.close()
