"""Actions that wait for a change of their agent: threads block, tasks leave their event loop free.

A task leaves it free also where it cannot `await`, deep inside synchronous code: see `vaultak.turning`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from vaultak.turning import turn, turning_loop

Answer = Callable[[], bool | None]
"""Whether a waiting action may run; `None` while nobody has said."""


class WaitingRoom:
    """Who waits, and how they are woken. `lock` guards it, and whatever the answers depend on."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._wakers: set[Callable[[], None]] = set()
        self._waiting: dict[str, None] = {}

    @property
    def action_ids(self) -> list[str]:
        """The actions that wait now, in the order they came."""
        with self.lock:
            return list(self._waiting)

    def enter(self, action_id: str) -> None:
        """Count an action among the waiting ahead of its wait, so that no ruling misses it."""
        with self.lock:
            self._waiting[action_id] = None

    def announce(self) -> None:
        """Something changed: everyone looks again."""
        with self.lock:
            self._changed.notify_all()
            for wake in tuple(self._wakers):
                try:
                    wake()
                except RuntimeError:  # its loop is closed
                    self._wakers.discard(wake)

    def wait(self, action_id: str, answer: Answer, timeout_s: float) -> bool:
        """Block until there is an answer; no answer in time is a no. Raises `WaitCancelledError` from `turning`."""
        if (loop := turning_loop()) is not None:
            return self._turn(loop, action_id, answer, timeout_s)
        try:
            with self.lock:
                self._changed.wait_for(lambda: answer() is not None, timeout_s)
                return bool(answer())
        finally:
            self._waiting.pop(action_id, None)

    def _turn(self, loop: Any, action_id: str, answer: Answer, timeout_s: float) -> bool:
        """As `wait`, for synchronous code inside a task: the other tasks go on."""
        from vaultak.intercept.calls import apart

        def wake() -> None:
            loop.call_soon_threadsafe(_nothing)

        with self.lock:
            self._wakers.add(wake)
        try:
            with apart():
                turn(loop, lambda: answer() is not None, timeout_s)
            return bool(answer())
        finally:
            with self.lock:
                self._wakers.discard(wake)
                self._waiting.pop(action_id, None)

    async def wait_async(self, action_id: str, answer: Answer, timeout_s: float) -> bool:
        """As `wait`, for a task."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self.lock:
            self._wakers.add(wake)
        try:
            async with asyncio.timeout(timeout_s):
                while answer() is None:
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            pass
        finally:
            with self.lock:
                self._wakers.discard(wake)
                self._waiting.pop(action_id, None)
        return bool(answer())


def _nothing() -> None:
    return None
