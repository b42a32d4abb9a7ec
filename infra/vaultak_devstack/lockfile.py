"""One stack a data directory: a lock held for its life, and a state file that says what runs and where.

The lock is the kernel's (`flock`), so a stack that was killed leaves none behind; a state file without a held lock is
stale and counts as absent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from vaultak.wire.codec import UNREADABLE
from vaultak_devstack.errors import DevstackError
from vaultak_devstack.files import write_private

_LOCK, _STATE = "stack.lock", "stack.json"


class StackState(msgspec.Struct, frozen=True, kw_only=True):
    """What runs: for a second `vaultak up`, and for commands that look for the stack on this machine."""

    pid: int
    """Of the supervisor."""
    started_at: str
    """RFC 3339, UTC."""
    broker: str
    """`embedded`, `kafka` or `external`."""
    bootstrap_servers: str
    clickhouse: str
    """`embedded` or `external`."""
    clickhouse_dsn: str
    topic_prefix: str = "vaultak"
    pids: dict[str, int] = {}
    """Children by name."""
    addresses: dict[str, str] = {}
    """What people may want to open, by name: `host:port` or a URL, without credentials."""

    @classmethod
    def load(cls, data_dir: Path) -> StackState | None:
        """The stack that runs on this data directory; None when none does (or it is just starting)."""
        if not _held(data_dir / _LOCK):
            return None
        try:
            return msgspec.json.decode((data_dir / _STATE).read_bytes(), type=cls)
        except (OSError, *UNREADABLE):
            return None

    def save(self, data_dir: Path) -> None:
        """Write it, whole, readable by its owner only: it carries credentials."""
        write_private(data_dir / _STATE, msgspec.json.encode(self))


class StackRunsError(DevstackError):
    """Another stack runs on this data directory; `state` says what, when it has got that far."""

    def __init__(self, data_dir: Path, state: StackState | None) -> None:
        self.state = state
        if state is None:
            detail = "another one is just starting"
        else:
            detail = (
                f"running since {state.started_at} (pid {state.pid}): Kafka {state.bootstrap_servers}"
                f" ({state.broker}), ClickHouse ({state.clickhouse})"
            )
        super().__init__(
            f"a Vaultak stack already uses `{data_dir}`: {detail}; use it, stop it, or set VAULTAK_DATA_DIR"
        )


class StackLock:
    """The right to run a stack on a data directory, until `release` or the end of the process.

    Raises `StackRunsError` when another process has it.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._file: BinaryIO | None = None

    def acquire(self) -> None:
        if self._file is not None:
            return
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = _open(self._data_dir / _LOCK)
        except OSError as e:
            raise DevstackError(f"VAULTAK_DATA_DIR: cannot use `{self._data_dir}`: {e.strerror or e}") from None
        if not _lock(file):
            file.close()
            raise StackRunsError(self._data_dir, StackState.load(self._data_dir))
        self._file = file
        self._forget()

    def release(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._forget()
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _forget(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self._data_dir / _STATE).unlink()


def _open(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")


def _lock(file: BinaryIO) -> bool:
    """Take the lock. Tried a few times: `StackState.load` elsewhere holds it, shared, for an instant."""
    for attempt in range(5):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.01 * attempt)
        else:
            return True
    return False


def _held(path: Path) -> bool:
    """Whether some process holds the lock; a shared try, so that two who ask do not see each other."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
