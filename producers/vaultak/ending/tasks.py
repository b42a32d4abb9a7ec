"""The tasks of event loops that work for an agent, and cancelling them from within their loop."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import weakref
from collections.abc import Iterator
from typing import Any

from vaultak.governor import Governor, governor_in
from vaultak.wire import AgentState

_loops: weakref.WeakSet[Any] = weakref.WeakSet()
"""Loops in which a monitor was entered."""

_governors: weakref.WeakKeyDictionary[Any, Governor | None] = weakref.WeakKeyDictionary()
"""Python 3.11 tells nobody the context of a task: what was current when it was made, or set in it since."""

_cancels: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_TELLS_CONTEXT = sys.version_info >= (3, 12)


def entered(governor: Governor | None) -> None:
    """A monitor was entered, or left for an outer one, in the running task."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TypeError):  # a loop that cannot be referred to weakly
        _loops.add(loop)
    if not _TELLS_CONTEXT and (task := asyncio.current_task(loop)) is not None:
        _governors[task] = governor


def made(task: Any, governor: Governor | None) -> None:
    """A task was made by code that a governor governs."""
    if not _TELLS_CONTEXT:
        _governors[task] = governor


def loops() -> list[Any]:
    return [loop for loop in list(_loops) if not loop.is_closed()]


def governor_of(task: Any) -> Governor | None:
    return governor_in(task.get_context()) if _TELLS_CONTEXT else _governors.get(task)


def is_killed(governor: Governor) -> bool:
    """An agent that begins anew under the same name, in another client, was not."""
    return getattr(governor, "state", AgentState.KILLED) is AgentState.KILLED


def _of_agent(loop: Any, agent_id: str) -> Iterator[Any]:
    for task in asyncio.all_tasks(loop):
        governor = governor_of(task)
        if (
            governor is not None
            and governor.agent_id == agent_id
            and governor.intercepted
            and is_killed(governor)
            and not task.done()
        ):
            yield task


def end(loop: Any, agent_id: str) -> bool:
    """Have the agent's tasks of a loop cancelled; whether there are any."""
    if loop.is_closed() or not any(True for _ in _of_agent(loop, agent_id)):
        return False
    with contextlib.suppress(RuntimeError):  # closed meanwhile
        loop.call_soon_threadsafe(_cancel, loop, agent_id)
    return True


def _cancel(loop: Any, agent_id: str) -> None:
    for task in list(_of_agent(loop, agent_id)):
        if task.cancel(f"agent `{agent_id}` is killed"):
            _cancels[task] = _cancels.get(task, 0) + 1


def uncancel(task: Any) -> None:
    """The task has left the killed agent: it goes on as if it had never been cancelled."""
    for _ in range(_cancels.pop(task, 0)):
        task.uncancel()
