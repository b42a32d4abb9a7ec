"""Interception: every effect of governed Python code is judged before it happens.

One audit hook (PEP 578) enforces; it cannot be removed. Patches only add what the hook cannot know: outcomes, and
effects for which Python raises no event. What neither can see is listed in `docs/limits.md`.

A new target is a module with `CLASSIFIERS` (event -> classifier) and `patch()`, added to `_TARGETS`.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from vaultak.governor import current
from vaultak.intercept import (
    alarms,
    children,
    code,
    databases,
    descriptors,
    environment,
    files,
    forkservers,
    freezing,
    held,
    hook,
    http_client,
    importing,
    interpreters,
    mail,
    names,
    native_files,
    originals,
    pools,
    processes,
    semaphores,
    sockets,
    system,
    threads,
    web_aiohttp,
    web_httpcore,
    web_urllib3,
    web_websockets,
)
from vaultak.intercept.freezing import freeze
from vaultak.intercept.hook import faults
from vaultak.intercept.patching import rebind_aliases
from vaultak.intercept.trust import origins

__all__ = ["faults", "install", "installed"]

_TARGETS: Final = (
    files,
    freezing,
    descriptors,
    processes,
    native_files,
    children,
    system,
    sockets,
    code,
    environment,
    databases,
    interpreters,
    threads,
    pools,
    forkservers,
    http_client,
    web_urllib3,
    web_httpcore,
    web_aiohttp,
    web_websockets,
    mail,
    alarms,
    semaphores,
    originals,
)

_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # another thread may hold it
    os.register_at_fork(after_in_child=_lock._at_fork_reinit)  # type: ignore[attr-defined]
_installed = False


def installed() -> bool:
    """Whether the hook is in place in this interpreter."""
    return _installed


def install() -> None:
    """Put the hook and the patches in place, once for the life of the process. Thread-safe, idempotent.

    Without a governor they cost a dictionary look-up an event and change nothing.
    """
    global _installed
    with _lock:
        if current() is None:
            importing.note_loaded()
            held.note_streams()
        if _installed:
            return
        origins.learn_sdk()
        names.patch()
        for target in _TARGETS:
            target.patch()
        rebind_aliases()
        hook.add({event: c for target in _TARGETS for event, c in target.CLASSIFIERS.items()})
        _installed = True
        freeze(__name__)
