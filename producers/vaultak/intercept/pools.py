"""Work handed to processes that run already: a pool of the host's own, started outside every monitor.

What such a process does is not seen, so handing it a function is an action of its own: `code:<module>.<function>`.
The processes of a pool that the agent started are judged as they start.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.enforce import enforce
from vaultak.intercept.patching import patch_method, when_imported
from vaultak.wire import ActionType

MAX_ARGUMENTS_CHARS = 2000


def _name(function: object) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', None) or 'unknown'}.{name}"


def _handed_over(function: object, arguments: object, o: Occurrence) -> Effects:
    payload = {"op": o.event, "arguments": repr(arguments)[:MAX_ARGUMENTS_CHARS]}
    return (Effect(ActionType.CODE_EXECUTION, f"code:{_name(function)}", payload),)


def _submitted(o: Occurrence) -> Effects:
    """`ProcessPoolExecutor.submit(self, function, *arguments)`."""
    pool, *call = o.args
    running = getattr(pool, "_processes", None)
    return _handed_over(call[0], call[1:], o) if running and call else NONE


def _applied(o: Occurrence) -> Effects:
    """`Pool.apply_async(self, function, args, kwds)` and its like; threads are bound elsewhere."""
    from multiprocessing.pool import ThreadPool

    pool, *call = o.args
    return NONE if isinstance(pool, ThreadPool) or not call else _handed_over(call[0], call[1:2], o)


def _patched(module: str, owner: str, names: tuple[str, ...], classifier: Classifier) -> Callable[[], None]:
    def patch() -> None:
        target: Any = getattr(sys.modules[module], owner)
        for name in names:
            patch_method(target, name, enforce(f"{owner}.{name}", classifier, on_instance=True))

    return patch


CLASSIFIERS: dict[str, Classifier] = {}


def patch() -> None:
    executor, pool = "concurrent.futures.process", "multiprocessing.pool"
    when_imported(executor, _patched(executor, "ProcessPoolExecutor", ("submit",), _submitted))
    names = ("apply_async", "_map_async", "imap", "imap_unordered")
    when_imported(pool, _patched(pool, "Pool", names, _applied))
