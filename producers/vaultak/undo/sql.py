"""SQL inside an open transaction: a savepoint before each governed write, to which a rollback goes back."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Final
from weakref import ref

from vaultak.undo.log import UndoLog

MAX_SAVEPOINTS: Final = 256
"""Of one transaction. Each costs the database memory; beyond that they are let go and a new series begins."""
COMMITTED: Final = "its transaction is over: what was committed stays"

_numbers = itertools.count(1)


class CommittedError(Exception):
    """The transaction is over, so that nothing is left to go back to."""


class Savepoints:
    """The savepoints of one connection. `run` executes SQL on it, unjudged and from any thread, and raises what the
    database says; `is_open` says whether a transaction is open."""

    def __init__(self, run: Callable[[str], object], is_open: Callable[[], bool]) -> None:
        self._run, self._is_open = run, is_open
        self._names: list[str] = []
        self._began = False
        self._lock = threading.RLock()
        self.others = False
        """The host sets savepoints of its own: ours are not released, because that would release its own too."""

    def begin(self, sql: str) -> None:
        """Open the transaction that the driver would have opened: going back to its start ends it."""
        with self._lock:
            self.over()
            self._run(sql)
            self._began = True

    def before_write(
        self, undo: UndoLog, action_id: str, description: str, committed: Callable[[], object] | None = None
    ) -> None:
        """Set a savepoint in the open transaction, and register going back to it; `committed` takes the write back
        once the transaction is over, and raises what keeps it from that."""
        with self._lock:
            if len(self._names) >= MAX_SAVEPOINTS and not self.others:
                first = self._names[0]
                self.over()
                self._run(f"RELEASE SAVEPOINT {first}")
            if len(self._names) >= MAX_SAVEPOINTS:
                self.unsupported(undo, action_id, description, f"more than {MAX_SAVEPOINTS} savepoints")
                return
            name = f"vaultak_{next(_numbers)}"
            self._run(f"SAVEPOINT {name}")
            self._names.append(name)
        this = ref(self)

        def back() -> None:
            savepoints = this()
            if savepoints is not None and savepoints.back(name):
                return
            if committed is None:
                raise CommittedError(COMMITTED)
            committed()

        undo.register(action_id, back, description)

    @staticmethod
    def unsupported(undo: UndoLog, action_id: str, description: str, reason: str) -> None:
        """Register that there is no way back, so that a rollback says why."""

        def refuse() -> None:
            raise CommittedError(reason)

        undo.register(action_id, refuse, description)

    def over(self) -> None:
        """The transaction has ended: its savepoints are gone with it."""
        with self._lock:
            self._names.clear()
            self.others = self._began = False

    def back(self, name: str) -> bool:
        """Go back to a savepoint, now. False when it is gone with its transaction."""
        with self._lock:
            if name not in self._names:
                return False
            if not self._is_open():
                self.over()
                return False
            try:
                self._run(f"ROLLBACK TO SAVEPOINT {name}")
            except Exception:  # noqa: BLE001 - each driver has its own: the database does not know it any more
                return False
            place = self._names.index(name)
            del self._names[place:]
            if self._began and not place:
                self._run("ROLLBACK")
                self.over()
            return True

    def ending(self, end: Callable[[], object]) -> object:
        """Run what ends the transaction; nobody goes back meanwhile."""
        with self._lock:
            try:
                return end()
            finally:
                if not self._is_open():
                    self.over()
