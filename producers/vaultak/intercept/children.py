"""Which processes an agent started, whatever way: for the day it is killed."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

from vaultak.ending import children
from vaultak.governor import current
from vaultak.intercept.effect import Classifier
from vaultak.intercept.patching import patch_function
from vaultak.intercept.trust import origins


def _started(wrapped: Callable[..., Any], _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = wrapped(*args, **kwargs)
    pid = result[0] if isinstance(result, tuple) else result
    if (governor := current()) is not None and isinstance(pid, int) and pid > 0:
        children.add(governor.agent_id, pid)
    return result


def _in_shell(wrapped: Callable[..., Any], _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    governor = current()
    if governor is None:
        return wrapped(*args, **kwargs)
    with children.shell(governor.agent_id):
        return wrapped(*args, **kwargs)


origins.make_transparent(cast(FunctionType, _started), cast(FunctionType, _in_shell))

CLASSIFIERS: dict[str, Classifier] = {}
"""None: `processes` judges."""


def patch() -> None:
    import _posixsubprocess
    import subprocess

    for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp"):
        patch_function(("os", "posix"), name, _started)
    patch_function(("os", "posix"), "system", _in_shell)
    patch_function(("_posixsubprocess",), "fork_exec", _started)
    if hasattr(subprocess, "_fork_exec"):
        subprocess._fork_exec = _posixsubprocess.fork_exec
