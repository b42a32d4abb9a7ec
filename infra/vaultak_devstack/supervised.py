"""One supervised command: started, watched, started again when it ends, stopped."""

from __future__ import annotations

import enum
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from vaultak_devstack.clickhouse_config import Role
from vaultak_devstack.process import ChildProcess
from vaultak_devstack.restart import Backoff

EXIT_CONFIGURATION = 2
"""A child that ends so will end so again: it is not restarted."""


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A command to keep running. `ready_file`, where given, is written by the child once it works, and again since."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = {}
    """On top of the environment that the stack gives every child."""
    clickhouse_role: Role = "writer"
    """Whose password its VAULTAK_CLICKHOUSE_DSN carries, where ClickHouse is the stack's own."""
    ready_file: Path | None = None


class ChildState(enum.StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    FAILED = "failed"
    """Ended because of its configuration; not started again."""
    STOPPED = "stopped"


class ChildHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How a child does. `detail` is one line where it does not do well."""

    name: str
    state: ChildState
    pid: int | None = None
    restarts: int = 0
    detail: str = ""


class Supervised:
    """Keeps one `ChildSpec` running. Driven by `poll`, from one thread."""

    def __init__(self, spec: ChildSpec, env: Mapping[str, str], log_dir: Path, backoff: Backoff | None = None) -> None:
        self.spec = spec
        self._env = {**os.environ, **env, **spec.env}
        self._log_path = log_dir / f"{spec.name}.log"
        self._backoff = backoff or Backoff()
        self._child: ChildProcess | None = None
        self._restart_at_s: float | None = None
        self._started_wall_s = 0.0
        self._last_words = ""
        self._state = ChildState.STOPPED

    def start(self) -> None:
        """Start it now, whatever its back-off says. Raises `OSError` when the program cannot be started."""
        self._restart_at_s = None
        self._started_wall_s = time.time()
        self._child = ChildProcess(
            self.spec.command,
            name=self.spec.name,
            log_path=self._log_path,
            env=self._env,
            death_signal=signal.SIGTERM,
        )
        self._backoff.started(time.monotonic())
        self._state = ChildState.STARTING

    def poll(self) -> str | None:
        """Look after it; returns a line for people when something changed for the worse."""
        now_s = time.monotonic()
        if self._state in (ChildState.STARTING, ChildState.RUNNING):
            assert self._child is not None
            if (code := self._child.returncode) is not None:
                return self._ended(code, now_s)
            if self._is_ready():
                self._state = ChildState.RUNNING
        elif self._restart_at_s is not None and now_s >= self._restart_at_s:
            self.start()
        return None

    def restart(self, grace_s: float = 5.0) -> None:
        """Stop it and start it again at once: what it knew of the rest of the stack no longer holds."""
        if self._state is not ChildState.FAILED:
            self.stop(grace_s)
            self.start()

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting."""
        self._restart_at_s = None
        if self._child is not None and self._child.running:
            self._child.send_signal(signal.SIGTERM)

    def stop(self, grace_s: float = 5.0) -> None:
        """Wait until it has stopped; after `grace_s` it is killed. Idempotent."""
        self._restart_at_s = None
        if self._child is not None:
            self._child.stop(grace_s)
        if self._state is not ChildState.FAILED:
            self._state = ChildState.STOPPED

    def kill(self) -> None:
        self._restart_at_s = None
        if self._child is not None:
            self._child.kill()
        self._state = ChildState.STOPPED

    @property
    def health(self) -> ChildHealth:
        running = self._child is not None and self._child.running
        return ChildHealth(
            name=self.spec.name,
            state=self._state,
            pid=self._child.pid if running and self._child is not None else None,
            restarts=self._backoff.restarts,
            detail="" if self._state in (ChildState.STARTING, ChildState.RUNNING) else self._last_words,
        )

    def _is_ready(self) -> bool:
        if self.spec.ready_file is None:
            return True
        try:
            return self.spec.ready_file.stat().st_mtime >= self._started_wall_s
        except OSError:
            return False

    def _ended(self, code: int, now_s: float) -> str:
        assert self._child is not None
        words = _last_line(self._child.output())
        self._child.stop(0)  # what it may have left behind
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        self._last_words = f"{self.spec.name} {how}{f': {words}' if words else ''}"
        if code == EXIT_CONFIGURATION:
            self._state = ChildState.FAILED
            return self._last_words
        delay_s = self._backoff.ended(now_s)
        self._restart_at_s = now_s + delay_s
        self._state = ChildState.RESTARTING
        return f"{self._last_words}; starting it again in {delay_s:.1f} s (log: `{self._log_path}`)"


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
