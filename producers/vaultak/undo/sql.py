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

_numbers = itertools.count(1)


class CommittedError(Exception):
    """The transaction is over, so that nothing is left to go back to."""


class Savepoints:
    """The savepoints of one connection. `run` executes SQL on it, unjudged; `open` says whether a transaction is open.

    Where the database refuses another thread's call (`run` raises what `foreign` says), the rollback is owed: `settle`
    pays it, and whoever owns the connection calls that ahead of anything else, so that nothing is committed before.
    """

    def __init__(self, run: Callable[[str], object], is_open: Callable[[], bool], *, thread: int | None = None) -> None:
        self._run, self._is_open, self._thread = run, is_open, thread
        self._names: list[str] = []
        self._owed = ""
        self._lock = threading.RLock()
        self.others = False
        """The host sets savepoints of its own: ours are not released, because that would release its own too."""

    def before_write(self, undo: UndoLog, action_id: str, description: str) -> None:
        """Set a savepoint in the open transaction, and register going back to it."""
        with self._lock:
            if len(self._names) >= MAX_SAVEPOINTS and not self.others:
                first = self._names[0]
                self._names.clear()
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
            if savepoints is None:
                raise CommittedError("its connection is gone: committed or rolled back with it")
            savepoints.back(name)

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
            self.others = False

    def back(self, name: str) -> None:
        """Go back to a savepoint, or owe it to the thread that owns the connection. Raises `CommittedError`."""
        with self._lock:
            if name not in self._names:
                raise CommittedError("its transaction is over: what was committed stays")
            if self._thread is None or self._thread == threading.get_ident():
                if not self._is_open():
                    self.over()
                    raise CommittedError("its transaction is over: what was committed stays")
                self._run(f"ROLLBACK TO SAVEPOINT {name}")
            else:
                self._owed = name
            del self._names[self._names.index(name) :]

    def settle(self) -> None:
        """Pay what is owed, on the thread that owns the connection. Raises what the database raises."""
        if not self._owed:
            return
        with self._lock:
            owed, self._owed = self._owed, ""
            if owed and self._is_open():
                self._run(f"ROLLBACK TO SAVEPOINT {owed}")

    def ending(self, end: Callable[[], object]) -> object:
        """Run what ends the transaction: what is owed is paid first, and nothing can be owed meanwhile."""
        with self._lock:
            self.settle()
            try:
                return end()
            finally:
                if not self._is_open():
                    self.over()
