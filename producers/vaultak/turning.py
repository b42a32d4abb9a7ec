"""Waiting deep inside synchronous code of a task, while the other tasks of its event loop go on.

A pause met in the audit hook cannot `await`: there may be any number of ordinary calls between the hook and the
coroutine. Blocking there would freeze the loop for everyone. So the loop is turned from here: the waiting task steps
aside and the loop's ready callbacks, timers and sockets are served until there is an answer.

Works for loops of `asyncio` itself. The last task that began to wait is the first that can go on: one whose answer
comes earlier than that of a task above it on the stack goes on after it.
"""

from __future__ import annotations

import asyncio
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
    cancels = task.cancelling() if task is not None else 0
    _step_aside(loop, task)
    _depth.value += 1
    try:
        while not answered():
            if loop._stopping or loop.is_closed() or (task is not None and task.cancelling() > cancels):
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
