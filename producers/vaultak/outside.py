"""Where the SDK's own threads start: outside any filter that lies on the thread that needs them.

A thread under a seccomp filter passes it on to those it starts. What the SDK does on its own behalf, deliver events,
obey commands, roll back, is no action of the agent's, so the floor has a thread from before the filter start them.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")


class OutsideThread:
    """A thread that does what others ask of it. Made before the filter, it stays outside."""

    def __init__(self) -> None:
        self.process_id = os.getpid()
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="vaultak-outside", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while True:
            self._jobs.get()()

    def run(self, function: Callable[[], R]) -> R:
        """What `function` returns or raises, called there. In a forked child, where that thread is not, called here."""
        if os.getpid() != self.process_id or threading.current_thread() is self.thread:
            return function()
        done = threading.Event()
        results: list[R] = []
        errors: list[BaseException] = []

        def job() -> None:
            try:
                results.append(function())
            except BaseException as e:  # noqa: BLE001 - raised again by the one who waits
                errors.append(e)
            finally:
                done.set()

        self._jobs.put(job)
        done.wait()
        if errors:
            raise errors[0]
        return results[0]


_outside: OutsideThread | None = None


def prepare() -> OutsideThread:
    """The outside thread, made on first use: call it on a thread without a filter."""
    global _outside
    if _outside is None or _outside.process_id != os.getpid():
        _outside = OutsideThread()
    return _outside


def start(thread: threading.Thread) -> None:
    """`thread.start()`, outside any filter."""
    if _outside is None:
        thread.start()
    else:
        _outside.run(thread.start)
