"""A governor that remembers what it was asked and can deny: the seam alone, without policy or publishing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vaultak import governor
from vaultak.errors import ActionBlockedError
from vaultak.wire import ActionType, OutcomeStatus


@dataclass
class Asked:
    action_id: str
    action_type: str
    resource: str
    payload: dict[str, Any]
    assurance: str
    outcome: str = ""
    denied: bool = False
    error: str = ""


@dataclass
class Recorder:
    """Writes what it was asked to a file too, so that what children asked is seen."""

    journal: Path | None = None
    agent_id: str = "recorder"
    intercepted: bool = True
    undo: Any = None
    denies: Callable[[str, str], bool] = lambda _type, _resource: False
    asked: list[Asked] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def before(self, action_type: ActionType, resource: str, payload: dict[str, Any], *, assurance: str = "") -> str:
        with self._lock:
            denied = self.denies(action_type.value, resource)
            record = Asked(str(len(self.asked)), action_type.value, resource, payload, assurance, denied=denied)
            self.asked.append(record)
        line = resource.replace("\n", " ").replace("\t", " ")
        self._write(f"{record.action_type}\t{line}\t{denied}\t{payload.get('op')}\n")
        if denied:
            raise ActionBlockedError(f"{record.action_type} on {resource} is denied", action_id=record.action_id)
        return record.action_id

    async def before_async(
        self, action_type: ActionType, resource: str, payload: dict[str, Any], *, assurance: str = ""
    ) -> str:
        return self.before(action_type, resource, payload, assurance=assurance)

    def after(
        self,
        action_id: str,
        status: OutcomeStatus,
        *,
        content: str = "",
        error: str = "",
        duration_ms: float | None = None,
    ) -> None:
        record = self.asked[int(action_id)]
        assert not record.outcome, f"settled twice: {record}"
        record.outcome, record.error = status.value, error

    def _write(self, line: str) -> None:
        if self.journal is None:
            return
        # Outside every governor: this double is no part of the SDK, so its own writes are not exempt.
        token = governor.activate(None)
        try:
            fd = os.open(self.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(fd, line.encode())
            finally:
                os.close(fd)
        finally:
            governor.deactivate(token)

    def journaled(self) -> list[tuple[str, str, bool, str]]:
        if self.journal is None or not self.journal.exists():
            return []
        lines = (line.split("\t") for line in self.journal.read_text().splitlines())
        return [(kind, resource, denied == "True", op) for kind, resource, denied, op in lines]


@contextmanager
def governed(recorder: Recorder) -> Iterator[Recorder]:
    token = governor.activate(recorder)
    try:
        yield recorder
    finally:
        governor.deactivate(token)
