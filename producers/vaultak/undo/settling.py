"""Files that an action opened to write: noted as the action left them, once nobody can write to them any more.

A thread of its own looks again and again, at first every 50 ms, later after a tenth of the time that the file has been
open, at most a second. That long after the closing another's change in place may still pass for the action's.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from typing import NamedTuple, Protocol

from vaultak import governor, outside

log = logging.getLogger("vaultak.undo")

FIRST_LOOK_S = 0.05
LAST_LOOK_S = 1.0
_SHARE_OF_AGE = 0.1
_IDLE_LOOKS = 20
"""With nothing open: the thread stays for a second, to start one for each file would cost the agent more."""


class Written(NamedTuple):
    """A file that entry `n` opened; times are of the monotonic clock."""

    n: int
    path: str
    since_s: float
    due_s: float

    def later(self, now_s: float) -> Written:
        """Look again, the later the longer it has been open."""
        wait_s = min(LAST_LOOK_S, max(FIRST_LOOK_S, (now_s - self.since_s) * _SHARE_OF_AGE))
        return self._replace(due_s=now_s + wait_s)


class Settling(Protocol):
    """A log that waits for files to be closed."""

    def settle(self) -> float | None:
        """Note what has been closed; seconds until the next look, `None` when nothing is open."""


class _Watch:
    """The thread that looks, one per process, alive only while something is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logs: weakref.WeakSet[Settling] = weakref.WeakSet()
        self._running = False
        self._sooner = threading.Event()
        self._next_s = 0.0
        self._idle_looks = 0

    def add(self, settling: Settling) -> None:
        with self._lock:
            self._logs.add(settling)
            if self._running:
                if self._next_s - time.monotonic() > FIRST_LOOK_S:
                    self._sooner.set()  # seldom: a thread that is woken takes its time from the agent's
                return
            self._running, self._idle_looks = True, 0
        token = governor.activate(None)  # the thread is ours, not the agent's
        try:
            outside.start(threading.Thread(target=self._run, name="vaultak-undo-settle", daemon=True))
        except RuntimeError:  # the interpreter is about to end
            self._running = False
        finally:
            governor.deactivate(token)

    def _run(self) -> None:
        wait_s: float | None = FIRST_LOOK_S
        while wait_s is not None:
            self._next_s = time.monotonic() + wait_s
            if self._sooner.wait(min(wait_s, LAST_LOOK_S)):
                self._sooner.clear()
                time.sleep(FIRST_LOOK_S)
            wait_s = self._look()

    def _look(self) -> float | None:
        """Seconds until the next look; `None` when this thread has nothing left to do, and is no longer counted on."""
        with self._lock:
            logs = list(self._logs)
            self._logs.clear()  # whoever is added from now on stays for the next look
        waits = []
        for settling in logs:
            try:
                wait_s = settling.settle()
            except Exception:
                log.exception("cannot note what an agent left in its files")
                continue
            if wait_s is not None:
                waits.append(wait_s)
                with self._lock:
                    self._logs.add(settling)
        with self._lock:
            self._idle_looks = 0 if len(self._logs) else self._idle_looks + 1
            self._running = self._idle_looks <= _IDLE_LOOKS
            return max(FIRST_LOOK_S, min(waits, default=0.0)) if self._running else None

    def forget(self) -> None:
        """In a forked child: neither the thread nor the parent's files are here."""
        self.__init__()  # type: ignore[misc]  # the lock may be held by a thread that is not here


watch = _Watch()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=watch.forget)
