"""Raising an exception in another thread, between two of its instructions, and only while it works for one agent.

A thread that waits for the interpreter's lock stands at a point where such exceptions arrive; one inside a system call
gets there when the call returns. So where its frames are looked at is where it is hit, if nothing else runs between
the look and the raising: the lock has just been taken, and nobody asks for it back within so short a time.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from types import FrameType
from typing import Any

from vaultak.governor import Governor, bound, boundary, working

_SDK = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_LOOKED_AT = 40
"""Frames from the top in which the SDK's own code is looked for."""

_PASSING = frozenset(
    {"observed", "enforced", "__call__", "_start", "_submit", "_started", "_in_shell", "_create_task", "_add_callback"}
)
"""The SDK's functions inside of which an agent's own code runs: patches, and what binds work to an agent."""

_RUNNERS = ("asyncio.base_events", "asyncio.runners")


def interrupt(ident: int, governor: Governor, error: type[BaseException], *, stubborn: bool = False) -> bool:
    """Raise `error` in a thread that works for the governor; False when it does not (any more), or not now.

    Not where the SDK itself runs on that thread: an event half written would break its chain. `stubborn`: the thread
    has swallowed it before, so it comes twice, the second time where the first is being swallowed. Not where a monitor
    was entered: the second could come as the thread is leaving it.
    """
    raise_in = _raising()
    hit = _twice(ident, error) if stubborn and ident in bound else error
    with boundary:  # no thread comes under a governor or leaves one meanwhile
        time.sleep(0)
        if working.get(ident) is not governor or _is_busy(sys._current_frames().get(ident)):
            return False
        return bool(raise_in(ident, hit))


def forgive() -> None:
    """Take back what was raised in this thread and has not arrived. To be called within `boundary`."""
    _clearing()(threading.get_ident(), None)
    settle()


class _NothingError(BaseException):
    pass


def settle() -> None:
    """Let the interpreter know that nothing waits to be raised any more. Where something does, it is told later.

    It notes for all threads at once that an exception waits in one of them, until one arrives; what is taken back, or
    whose thread ends, never does. Every thread would look for it at each turn, and with a trace function set
    CPython 3.11 would look for ever. So one is raised here, and arrives.
    """
    try:
        _raising()(threading.get_ident(), _NothingError)
        for _ in range(_LOOKED_AT):
            time.sleep(0)
    except _NothingError:
        pass


def loop_of(ident: int) -> Any:
    """The event loop of `asyncio` that runs on a thread; `None` when none does."""
    frame = sys._current_frames().get(ident)
    while frame is not None:
        if frame.f_code.co_name in ("run_forever", "run") and frame.f_globals.get("__name__") in _RUNNERS:
            owner = frame.f_locals.get("self")
            return getattr(owner, "_loop", owner)
        frame = frame.f_back
    return None


def _is_busy(frame: FrameType | None) -> bool:
    for _ in range(_LOOKED_AT):
        if frame is None:
            return False
        code = frame.f_code
        if code.co_filename.startswith(_SDK) and code.co_name not in _PASSING:
            return True
        frame = frame.f_back
    return False


def _twice(ident: int, error: type[BaseException]) -> type[BaseException]:
    """Making an instance of it, which the thread does itself once a handler takes it, raises `error` anew.

    In C alone: a Python function would be where the second one arrives.
    """
    again = functools.partial(_raising(None), ident, error)
    return type(error.__name__, (error,), {"__init__": again, "__module__": error.__module__})


@functools.cache
def _raising(result: Any = int) -> Any:
    """`PyThreadState_SetAsyncExc(ident, class)`; the interpreter's lock is held throughout."""
    import ctypes

    returned = ctypes.c_int if result is int else None
    return ctypes.PYFUNCTYPE(returned, ctypes.c_ulong, ctypes.py_object)(_address())


@functools.cache
def _clearing() -> Any:
    import ctypes

    return ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(_address())


def _address() -> int:
    import ctypes

    address = ctypes.cast(ctypes.pythonapi.PyThreadState_SetAsyncExc, ctypes.c_void_p).value
    assert address is not None
    return address
