"""What a worker says of itself: a small JSON file, written anew every few seconds."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from vaultak.wire import format_ts
from vaultak.wire.codec import UNREADABLE
from vaultak.wire.timestamps import parse_ts

log = logging.getLogger("vaultak.worker")

WRITE_EVERY_S = 1.0

MAX_STATUS_BYTES = 256 * 1024


class WorkerStatus(msgspec.Struct, kw_only=True):
    """One worker at one moment. `counters` are since its start (names: `vaultak_streams.pipeline.step`)."""

    name: str
    pid: int = msgspec.field(default_factory=os.getpid)
    state: str = "starting"
    """`starting`, `waiting` (for the broker or its topics), `restoring`, `running`, `stopped`."""
    detail: str = ""
    started_ts: str = msgspec.field(default_factory=lambda: format_ts(time.time()))
    updated_ts: str = ""
    bootstrap_servers: str = ""
    partitions: list[int] = []
    agents: int = 0
    lag: int = 0
    """Records that wait in this worker's partitions, as of the last fetch of each."""
    restarts: int = 0
    policy_version: str = ""
    model_version: str = ""
    counters: dict[str, int] = {}

    def count(self, more: Mapping[str, int]) -> None:
        for name, n in more.items():
            self.counters[name] = self.counters.get(name, 0) + n

    def not_ready(self) -> str:
        """Why it judges nothing now; empty: it does."""
        return "" if self.state == "running" else f"{self.state} {self.detail}".strip()

    def silent_s(self) -> float:
        """Seconds since it last said how it does."""
        return time.time() - parse_ts(self.updated_ts or self.started_ts)


class StatusFile:
    """Keeps the file; a disk that cannot be written is said once and never stops the worker."""

    def __init__(self, path: Path, status: WorkerStatus) -> None:
        self.status = status
        self._path = path
        self._complained = False

    def set(self, state: str, detail: str = "") -> None:
        self.status.state, self.status.detail = state, detail
        self.write()

    def write(self) -> None:
        self.status.updated_ts = format_ts(time.time())
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(self.status))
            temporary.replace(self._path)
        except OSError as e:
            with contextlib.suppress(OSError):
                temporary.unlink()
            if not self._complained:
                log.warning("cannot write `%s`: %s", self._path, e.strerror or e)
            self._complained = True


def read_status(path: Path) -> WorkerStatus | None:
    """A worker's status; `None` when there is none that can be read."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_STATUS_BYTES), type=WorkerStatus)
    except (OSError, *UNREADABLE):
        return None
