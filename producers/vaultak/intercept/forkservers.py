"""Processes from a fork server: an agent gets one of its own, which inherits its monitor.

A server that runs already was started under nobody, or under another agent, and so is what it forks.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable
from typing import Any

from vaultak.governor import Governor, activate, current, deactivate
from vaultak.intercept.effect import Classifier
from vaultak.intercept.patching import patch_method, when_imported

_MODULE = "multiprocessing.forkserver"
_PRELOADED = "_preload_modules"

_servers: weakref.WeakKeyDictionary[Governor, Any] = weakref.WeakKeyDictionary()


def _connect(wrapped: Callable[..., Any], server: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`ForkServer.connect_to_new_process(self, fds)`, the way of every process to its server."""
    governor = current()
    if governor is None or not governor.intercepted or server in _servers.values():
        return wrapped(*args, **kwargs)
    own = _servers.get(governor)
    if own is None:
        own = _servers[governor] = type(server)()
        weakref.finalize(governor, _stop, own)
    setattr(own, _PRELOADED, getattr(server, _PRELOADED, []))
    return own.connect_to_new_process(*args, **kwargs)


def _stop(server: Any) -> None:
    token = activate(None)
    try:
        with contextlib.suppress(OSError):  # it has ended, or this process is a fork of the one that started it
            server._stop()
    finally:
        deactivate(token)


def _patch() -> None:
    module: Any = sys.modules[_MODULE]
    patch_method(module.ForkServer, "connect_to_new_process", _connect)
    module.connect_to_new_process = module._forkserver.connect_to_new_process  # bound when the module was loaded


CLASSIFIERS: dict[str, Classifier] = {}


def patch() -> None:
    when_imported(_MODULE, _patch)
