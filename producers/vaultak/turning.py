"""Waiting deep inside synchronous code of a task, while the other tasks of its event loop go on.

A pause met in the audit hook cannot `await`: there may be any number of ordinary calls between the hook and the
coroutine. Blocking there would freeze the loop for everyone. So the loop is turned from here: the waiting task steps
aside and the loop's ready callbacks, timers and sockets are served until there is an answer.

Works for loops of `asyncio` itself. The last task that began to wait is the first that can go on: one whose answer
comes earlier than that of a task above it on the stack goes on after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from asyncio import base_events, events
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 16
"""Waiting tasks on one stack; the one beyond blocks its loop, so that the stack of calls stays bounded."""


class _Depth(threading.local):
    value = 0


_depth = _Depth()


class WaitCancelledError(Exception):
    """The waiting task was cancelled, or its loop is stopping."""


def turning_loop() -> asyncio.BaseEventLoop | None:
    """The event loop that runs on this thread; `None` when there is none, or it is of a kind that cannot be turned."""
    loop: Any = events._get_running_loop()
    if not isinstance(loop, base_events.BaseEventLoop) or _depth.value >= MAX_DEPTH:
        return None
    return loop if hasattr(loop, "_run_once") and hasattr(loop, "_ready") else None


def turn(loop: Any, answered: Callable[[], bool], timeout_s: float) -> bool:
    """Serve the loop until `answered()`, which is looked at after each turn; False when the time was not enough.

    Whoever changes the answer wakes the loop with `loop.call_soon_threadsafe`. Raises `WaitCancelledError`.
    """
    task = asyncio.current_task(loop)
    deadline = time.monotonic() + timeout_s
    timer = loop.call_later(timeout_s, _nothing)
    due = len(loop._ready)
    cancellation = _Cancellation(task)
    _step_aside(loop, task)
    _depth.value += 1
    try:
        while not answered():
            if loop._stopping or loop.is_closed() or cancellation.arrives():
                raise WaitCancelledError
            if time.monotonic() >= deadline:
                return False
            loop._run_once()
        return True
    finally:
        _depth.value -= 1
        timer.cancel()
        # The turn of the loop that we are inside of has counted the callbacks it still has to run.
        for _ in range(due - len(loop._ready)):
            loop._ready.append(_cancelled(loop))
        _step_back(loop, task)
        cancellation.end()


class _Cancellation:
    """A task's cancellation, taken in its stead while it waits.

    A running task that is cancelled learns of it at its next `await`. One that waits here learns of it at once, and
    must not do so again: `asyncio.timeout` would end with a `CancelledError` out of nowhere after its `TimeoutError`.
    So the first `task.cancel()` goes here; all that come after it are the task's.
    """

    def __init__(self, task: Any) -> None:
        self._task = task
        self._came: tuple[Any, ...] | None = None
        self._delivered = False
        self._before = task.cancelling() if task is not None else 0
        if task is not None:
            with contextlib.suppress(AttributeError):  # a task of another kind, with slots: it learns of it twice
                task.cancel = self._take

    def _take(self, *message: Any, **named: Any) -> bool:
        if self._came is not None:
            return bool(type(self._task).cancel(self._task, *message, **named))
        self._came = (*message, *named.values())
        return True

    def arrives(self) -> bool:
        """Whether the wait ends by it."""
        self._delivered = self._came is not None
        return self._delivered or (self._task is not None and self._task.cancelling() > self._before)

    def end(self) -> None:
        """The wait is over: a cancellation that did not end it, as the answer came first, is the task's again."""
        if self._task is None:
            return
        with contextlib.suppress(AttributeError):
            del self._task.cancel
        if self._came is not None and not self._delivered:
            self._task.cancel(*self._came)


def _nothing() -> None:
    return None


def _cancelled(loop: Any) -> asyncio.Handle:
    handle = asyncio.Handle(_nothing, (), loop)
    handle.cancel()
    return handle


if sys.version_info >= (3, 12):

    def _step_aside(loop: Any, task: Any) -> None:
        asyncio.tasks._swap_current_task(loop, None)

    def _step_back(loop: Any, task: Any) -> None:
        asyncio.tasks._swap_current_task(loop, task)

else:

    def _step_aside(loop: Any, task: Any) -> None:
        if task is not None:
            asyncio.tasks._leave_task(loop, task)

    def _step_back(loop: Any, task: Any) -> None:
        if task is not None:
            asyncio.tasks._enter_task(loop, task)
