"""Signals to oneself: at once, on another thread, or later; and the end of the process without a farewell.

A handler in Python is judged by what it does. What is judged here is that a signal is raised, and a timer whose signal
nobody handles: it ends the host.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from vaultak.governor import current
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.enforce import enforce
from vaultak.intercept.patching import patch_function, when_imported
from vaultak.wire import ActionType

_TIMERS = {"ITIMER_REAL": "SIGALRM", "ITIMER_VIRTUAL": "SIGVTALRM", "ITIMER_PROF": "SIGPROF"}

_CRASHES = ("_sigsegv", "_sigabrt", "_sigfpe", "_read_null", "_stack_overflow", "_fatal_error_c_thread")

_own: set[int] = set()
"""This process's id, if an agent made it: ending it harms nobody else."""


def _signal(op: str, number: object) -> Effects:
    payload: dict[str, Any] = {"op": op, "signal": str(number)}
    return (Effect(ActionType.PROCESS_SPAWN, f"process:pid:{os.getpid()}", payload),)


def _to_thread(o: Occurrence) -> Effects:
    return _signal(o.event, o.args[1]) if o.args[1] else NONE


def _to_main(o: Occurrence) -> Effects:
    number = o.call.argument(0, "signum") if o.call is not None else None
    return _signal(o.event, signal.SIGINT if number is None else number)


def _unhandled(op: str, number: int, delay: object) -> Effects:
    return _signal(op, number) if delay and signal.getsignal(number) is signal.SIG_DFL else NONE


def _alarm(o: Occurrence) -> Effects:
    return _unhandled(o.event, signal.SIGALRM, o.args[0] if o.args else 0)


def _timer(o: Occurrence) -> Effects:
    which, delay = o.args[:2]
    names = (name for timer, name in _TIMERS.items() if getattr(signal, timer, None) == which)
    number = getattr(signal, next(names, ""), None)
    return NONE if number is None else _unhandled(o.event, number, delay)


def _exited(o: Occurrence) -> Effects:
    if os.getpid() in _own:
        return NONE
    return (Effect(ActionType.PROCESS_SPAWN, f"process:pid:{os.getpid()}", {"op": o.event}),)


def _forked() -> None:
    _own.clear()
    if current() is not None:
        _own.add(os.getpid())


CLASSIFIERS: dict[str, Classifier] = {"signal.pthread_kill": _to_thread}


def _patch_signal() -> None:
    for name, classifier in (("alarm", _alarm), ("setitimer", _timer)):
        patch_function(("signal", "_signal"), name, enforce(f"signal.{name}", classifier))


def _patch_crashes() -> None:
    for name in _CRASHES:
        patch_function(("faulthandler",), name, enforce(f"faulthandler.{name}", _exited))


def patch() -> None:
    when_imported("faulthandler", _patch_crashes)
    patch_function(("_thread",), "interrupt_main", enforce("thread.interrupt_main", _to_main))
    patch_function(("os", "posix"), "_exit", enforce("os._exit", _exited))
    when_imported("signal", _patch_signal)
    os.register_at_fork(after_in_child=_forked)
