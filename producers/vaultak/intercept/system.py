"""The machine and the process as a whole: its clock, its name, its log, who gets the processor, when it is ended."""

from __future__ import annotations

import os
from typing import Any

from vaultak.intercept import paths
from vaultak.intercept.effect import Classifier, Effect, Effects, Occurrence
from vaultak.intercept.enforce import enforce
from vaultak.intercept.patching import patch_function, when_imported
from vaultak.wire import ActionType

MAX_TEXT_CHARS = 2000
_PRIORITIES = ("nice", "setpriority", "sched_setscheduler", "sched_setparam", "sched_setaffinity", "umask")


def _said(o: Occurrence) -> Effects:
    priority, text = o.args
    payload: dict[str, Any] = {"op": o.event, "priority": priority, "text": str(text)[:MAX_TEXT_CHARS]}
    return (Effect(ActionType.MESSAGE_SEND, "syslog:local", payload),)


def _named(o: Occurrence) -> Effects:
    name = paths.printable(paths.text(o.args[0]))
    return (Effect(ActionType.PERMISSION_CHANGE, "system:hostname", {"op": o.event, "name": name}),)


def _clock(o: Occurrence) -> Effects:
    payload = {"op": o.event, "arguments": [str(argument)[:200] for argument in o.args]}
    return (Effect(ActionType.PERMISSION_CHANGE, "system:clock", payload),)


def _priority(o: Occurrence) -> Effects:
    payload = {"op": o.event, "arguments": [str(argument)[:200] for argument in o.args]}
    return (Effect(ActionType.PERMISSION_CHANGE, f"process:pid:{os.getpid()}", payload),)


def _ended(o: Occurrence) -> Effects:
    """The whole process, and with it the host program, without a chance to clean up."""
    return (Effect(ActionType.PROCESS_SPAWN, f"process:pid:{os.getpid()}", {"op": o.event}),)


CLASSIFIERS: dict[str, Classifier] = {"syslog.syslog": _said, "socket.sethostname": _named}


def patch() -> None:
    for name in _PRIORITIES:
        patch_function(("os", "posix"), name, enforce(f"os.{name}", _priority))
    patch_function(("os", "posix"), "abort", enforce("os.abort", _ended))
    when_imported("signal", _patch_signal)
    for name in ("clock_settime", "clock_settime_ns"):
        patch_function(("time",), name, enforce(f"time.{name}", _clock))


def _raised(o: Occurrence) -> Effects:
    payload = {"op": o.event, "signal": str(o.args[0])}
    return (Effect(ActionType.PROCESS_SPAWN, f"process:pid:{os.getpid()}", payload),)


def _patch_signal() -> None:
    patch_function(("signal", "_signal"), "raise_signal", enforce("signal.raise_signal", _raised))
