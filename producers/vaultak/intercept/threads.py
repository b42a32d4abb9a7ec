"""Attribution: work started by an agent is that agent's, in whatever thread it runs.

A thread inherits who governs its starter. A task handed to a pool runs under whoever handed it in, whatever thread
takes it, and so does a callback that a thread of the host's will call. Asyncio tasks carry their context by
themselves. Threads that the SDK starts for itself are governed by nobody.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from threading import get_ident
from typing import Any

from vaultak.ending import tasks
from vaultak.errors import ActionDeniedError, AgentKilledError
from vaultak.governor import Governor, activate, bound, current, deactivate
from vaultak.intercept.calls import Wrapper
from vaultak.intercept.effect import Classifier
from vaultak.intercept.patching import patch_function, patch_method, when_imported
from vaultak.intercept.trust import Origin, origins

log = logging.getLogger("vaultak")

_POOLS = ("concurrent.futures.thread", "multiprocessing.pool", "anyio._backends._asyncio", "trio._core._thread_cache")
"""Modules whose threads take work from whoever has some."""


class Bound:
    """A callable that runs under a given governor, or under none."""

    __slots__ = ("function", "governor", "hunted")

    def __init__(self, function: Callable[..., Any], governor: Governor | None, *, hunted: bool = True) -> None:
        self.function = function
        self.governor = governor
        self.hunted = hunted

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        token = activate(self.governor, hunted=self.hunted)
        ident = get_ident()
        bound.add(ident)
        try:
            return self.function(*args, **kwargs)
        finally:
            try:
                bound.discard(ident)
                deactivate(token)
            except AgentKilledError:  # raised by a kill just as the thread was leaving
                bound.discard(ident)
                deactivate(token)
                raise


class Callback(Bound):
    """Runs on a thread of the host's own: what stops it there, on record by then, must not end that thread."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except (ActionDeniedError, AgentKilledError) as e:
            log.warning("a callback was stopped: %s", e)


def _start(wrapped: Callable[..., Any], _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`_thread.start_new_thread(function, args)` and `start_joinable_thread(function, ...)`: under every thread."""
    governor = current()
    if governor is None or not args or origins.behind_stdlib(sys._getframe(1)) is Origin.SDK:
        return wrapped(*args, **kwargs)
    return wrapped(Bound(args[0], governor, hunted=not _serves_all(args[0])), *args[1:], **kwargs)


def _serves_all(function: object) -> bool:
    """Whether it is the main function of a pool's thread, which may serve other agents next.

    A kill ends what it does for the agent, not the thread: each task is bound to whoever handed it in.
    """
    thread = getattr(function, "__self__", None)
    target = getattr(thread, "_target", None) or type(thread)
    return getattr(target, "__module__", None) in _POOLS


def _create_task(wrapped: Callable[..., Any], _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    task = wrapped(*args, **kwargs)
    if (governor := current()) is not None:
        tasks.made(task, governor)
    return task


def _submit(wrapped: Callable[..., Any], _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Bound even outside every monitor: the worker that takes it may have been started inside one."""
    if not args:
        return wrapped(*args, **kwargs)
    return wrapped(Bound(args[0], current()), *args[1:], **kwargs)


def _submit_to_threads(wrapped: Callable[..., Any], i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Pools of processes pickle their tasks, and their children inherit; pools of threads are bound."""
    from multiprocessing.pool import ThreadPool

    return _submit(wrapped, i, args, kwargs) if isinstance(i, ThreadPool) else wrapped(*args, **kwargs)


def _add_callback(wrapped: Callable[..., Any], _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`Future.add_done_callback(function)`: called by whatever thread brings the result."""
    if not args:
        return wrapped(*args, **kwargs)
    return wrapped(Callback(args[0], current()), *args[1:], **kwargs)


def _with_callbacks(first: int) -> Wrapper:
    """A pool's `callback` and `error_callback`, from that argument on: called by the thread that takes in results."""

    def _submit(wrapped: Callable[..., Any], _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = [_callback(a) if first <= n <= first + 1 else a for n, a in enumerate(args)]
        named = {name: _callback(a) if name in ("callback", "error_callback") else a for name, a in kwargs.items()}
        return wrapped(*given, **named)

    return _submit


def _callback(function: Any) -> Any:
    return Callback(function, current()) if callable(function) else function


def _patch_futures() -> None:
    patch_method(sys.modules["concurrent.futures._base"].Future, "add_done_callback", _add_callback)


def _patch_executors() -> None:
    patch_method(sys.modules["concurrent.futures.thread"].ThreadPoolExecutor, "submit", _submit)


def _patch_loops() -> None:
    patch_method(sys.modules["asyncio.base_events"].BaseEventLoop, "create_task", _create_task)


def _patch_pools() -> None:
    pool = sys.modules["multiprocessing.pool"].Pool
    for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
        patch_method(pool, name, _submit_to_threads)
    patch_method(pool, "apply_async", _with_callbacks(first=3))
    patch_method(pool, "_map_async", _with_callbacks(first=4))


CLASSIFIERS: dict[str, Classifier] = {}


def patch() -> None:
    for module in ("_thread", "threading"):
        for name in ("start_new_thread", "start_new", "start_joinable_thread"):
            patch_function((module,), name, _start, sealed=True)
            patch_function((module,), f"_{name}", _start, sealed=True)
    when_imported("concurrent.futures._base", _patch_futures)
    when_imported("concurrent.futures.thread", _patch_executors)
    when_imported("multiprocessing.pool", _patch_pools)
    for module in ("anyio.to_thread", "trio.to_thread"):
        when_imported(module, functools.partial(patch_function, (module,), "run_sync", _submit))
    if sys.version_info < (3, 12):  # later ones tell the context of a task
        when_imported("asyncio.base_events", _patch_loops)
