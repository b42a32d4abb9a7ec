"""Patched calls under way on this thread: they collect the actions judged inside and settle them when they end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from vaultak._native import core
from vaultak.errors import ActionDeniedError, AgentKilledError
from vaultak.governor import Governor, current, governed_by
from vaultak.wire import OutcomeStatus

MAX_ERROR_CHARS = 500
_clock = time.perf_counter


class Call(msgspec.Struct, eq=False):
    """One call of a patched function, from entry to return."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    started_s: float
    actions: list[tuple[Governor, str]] = []
    covered: dict[object, str] = {}
    """Effects that belong to an action of this call, by what tells them apart: its action id."""

    def argument(self, position: int, keyword: str) -> Any:
        return self.args[position] if len(self.args) > position else self.kwargs.get(keyword)

    def settle(self, error: BaseException | None) -> None:
        """Record the outcome of every action of this call."""
        if not self.actions:
            return
        duration_ms = (_clock() - self.started_s) * 1000
        status, text = _SUCCESS if error is None else _outcome(error)
        for governor, action_id in self.actions:
            governor.after(action_id, status, error=text, duration_ms=duration_ms)
        self.actions.clear()


_SUCCESS = (OutcomeStatus.OK, "")


def _outcome(error: BaseException) -> tuple[OutcomeStatus, str]:
    # A non-blocking connect that has begun is a success: its end is seen by the loop, not by the call.
    if isinstance(error, BlockingIOError):
        return _SUCCESS
    if isinstance(error, ActionDeniedError | AgentKilledError):
        return OutcomeStatus.DENIED, str(error)[:MAX_ERROR_CHARS]
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return OutcomeStatus.ERROR, type(error).__name__
    return OutcomeStatus.ERROR, f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARS]


class Thread(threading.local):
    """What is under way on one thread."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.compiled: tuple[int, int, str, str] | None = None
        """Frame, instruction, file name and source of the last compilation."""


here = Thread()


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """What runs inside belongs to none of the calls under way: other tasks, served while one waits in the hook."""
    kept, here.calls = here.calls, []
    compiled, here.compiled = here.compiled, None
    try:
        yield
    finally:
        here.calls, here.compiled = kept, compiled


def covered(key: object) -> str:
    """The id of the action under way that already stands for this effect; empty when there is none."""
    for call in reversed(here.calls):
        if action_id := call.covered.get(key):
            return action_id
    return ""


Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
"""As wrapt calls it: wrapped, instance, args, kwargs."""


def observe(name: str) -> Wrapper:
    """A wrapper that gives the actions judged inside a call their outcome. It decides nothing."""
    compiled: Any = getattr(core, "Observed", None)
    if compiled is None:
        return observe_in_python(name)
    wrapper: Wrapper = compiled(name, *governed_by, here, Call, _clock)
    return wrapper


def observe_in_python(name: str) -> Wrapper:
    """As the compiled core does it."""
    thread, clock = here, _clock

    def observed(wrapped: Callable[..., Any], _instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if current() is None:
            return wrapped(*args, **kwargs)
        call = Call(name, args, kwargs, clock())
        calls = thread.calls
        calls.append(call)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as e:
            calls.remove(call)
            call.settle(e)
            raise
        calls.remove(call)
        if call.actions:
            call.settle(None)
        return result

    return observed
