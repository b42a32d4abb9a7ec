"""Child processes: started apart from the terminal, logged to a file, stopped gently then surely, never orphaned."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO

from vaultak_devstack import leash

LOG_LIMIT_BYTES = 8 * 1024 * 1024
"""A child's log larger than this is moved aside when the child starts; one earlier generation is kept."""

_TAIL_BYTES = 16 * 1024


class _Spawner:
    """A thread that starts all children and lives as long as this process.

    The kernel sends the death signal when the *thread* that started a child ends: children must not hang on the life
    of some worker thread of an event loop's pool.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._owner_pid = 0

    def run(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._owner_pid != os.getpid():  # first use, or a fork left the thread behind
                self._work = queue.SimpleQueue()
                self._owner_pid = os.getpid()
                threading.Thread(target=self._loop, name="vaultak-spawner", daemon=True).start()
        done: Future[subprocess.Popen[bytes]] = Future()

        def task() -> None:
            try:
                done.set_result(start())
            except BaseException as e:  # noqa: BLE001 - handed to the caller, whatever it is
                done.set_exception(e)

        self._work.put(task)
        return done.result()

    def _loop(self) -> None:
        work = self._work
        while True:
            work.get()()


_SPAWNER = _Spawner()


class ChildProcess:
    """A running child: in a session of its own, so that the terminal's Ctrl-C reaches only the supervisor.

    When the supervisor dies, however it dies, the child gets `death_signal`. Output of both streams goes to `log_path`.
    Raises `OSError` when the program cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.log_path = log_path
        _rotate(log_path)
        leashed = [sys.executable, "-I", "-S", leash.__file__, str(int(death_signal)), str(os.getpid()), *command]
        with _open_private(log_path) as log:
            self._log_start = log.tell()
            self._process = _SPAWNER.run(
                lambda: subprocess.Popen(  # noqa: S603 - our own commands, no shell
                    leashed,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=dict(env) if env is not None else None,
                    cwd=cwd,
                    start_new_session=True,
                )
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for the end; None when it still runs after `timeout_s`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace_s: float = 5.0) -> int:
        """SIGTERM, then after `grace_s` SIGKILL to the whole process group. Returns the exit code. Idempotent."""
        if self.running:
            self._process.terminate()
            if self.wait(grace_s) is None:
                return self.kill()
        self._signal_group(signal.SIGKILL)  # whatever it started and left
        return self._process.wait()

    def kill(self) -> int:
        """SIGKILL to the whole process group, at once. Idempotent."""
        self._signal_group(signal.SIGKILL)
        return self._process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def output(self) -> str:
        """The end of what it wrote since this start, up to 16 KiB."""
        try:
            with self.log_path.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, end - _TAIL_BYTES))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _rotate(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(path.suffix + ".1"))


def _open_private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")
