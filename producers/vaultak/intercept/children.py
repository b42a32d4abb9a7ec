"""Processes that an agent starts, whatever way: they are the agent's too.

A Python child inherits the monitor through its environment; one that would not see it (`-I`, `-E`, `-S`) does not
start. And each is known by its id, for the day the agent is killed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any, cast

from vaultak.ending import children
from vaultak.errors import ActionBlockedError
from vaultak.governor import Governor, current
from vaultak.inherit import environment, pythons
from vaultak.inherit.shell import with_heritage
from vaultak.intercept import paths, processes
from vaultak.intercept.calls import here
from vaultak.intercept.effect import Classifier
from vaultak.intercept.hook import faults
from vaultak.intercept.patching import patch_function
from vaultak.intercept.trust import origins

Wrapped = Callable[..., Any]
_FORK_EXEC_ENV = 5
"""Where `_posixsubprocess.fork_exec` takes the environment: a list of `NAME=value`, or `None` for this process's."""


def _heritage() -> str:
    """What the running agent hands down; empty outside every monitor, and where nothing can be."""
    governor = current()
    hand_down = getattr(governor, "hand_down", None)
    if governor is None or not governor.intercepted or hand_down is None:
        return ""
    try:
        return str(hand_down())
    except OSError as e:
        faults[f"inherit:{type(e).__name__}"] += 1
        return f"0:{e}"  # not readable there: the child does not run


def _check(program: object, argv: Sequence[object]) -> None:
    """Refuse a start of Python that would leave its monitor behind."""
    words = [paths.text(word) for word in argv]
    flag = pythons.shuts_out(paths.text(program), words)
    refuse = getattr(current(), "refuse", None)
    if flag and refuse is not None:
        why = f"python started with `{flag}` does not inherit the monitor"
        if any(call.actions for call in here.calls):
            raise ActionBlockedError(f"action blocked: {why}", reasons=(why,))  # the start on record ends with this
        effect = processes.spawn(program, argv, op="inherit")
        refuse(effect.action_type, effect.resource, effect.payload, why)


def _known(result: Any) -> Any:
    """Note the process that was started."""
    pid = result[0] if isinstance(result, tuple) else result
    governor: Governor | None = current()
    if governor is not None and governor.intercepted and isinstance(pid, int) and pid > 0:
        children.add(governor, pid)
    return result


def _forked(wrapped: Wrapped, _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return _known(wrapped(*args, **kwargs))


def _fork_execed(wrapped: Wrapped, _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    value = _heritage()
    if value and len(args) > _FORK_EXEC_ENV:
        argv = tuple(args[0])
        _check(_first_there(args[1]), argv)
        given = args[_FORK_EXEC_ENV]
        env = environment(value, None if given is None else _mapping(given))
        pairs = [os.fsencode(f"{name}={text}") for name, text in env.items()]
        args = (*args[:_FORK_EXEC_ENV], pairs, *args[_FORK_EXEC_ENV + 1 :])
    return _known(wrapped(*args, **kwargs))


def _first_there(programs: Sequence[Any]) -> str:
    """`fork_exec` tries one path after the other."""
    names = [paths.text(program) for program in programs]
    return next((name for name in names if os.path.exists(name)), names[0] if names else "")


def _mapping(pairs: Sequence[Any]) -> dict[str, str]:
    split = (os.fsdecode(pair).partition("=") for pair in pairs)
    return {name: text for name, _, text in split}


def _spawned(wrapped: Wrapped, _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`posix_spawn(path, argv, env, ...)`."""
    value = _heritage()
    if value and len(args) > 2:
        _check(args[0], tuple(args[1]))
        # From 3.13 on `None` stands for this process's environment.
        args = (*args[:2], environment(value, None if args[2] is None else _text(args[2])), *args[3:])
    return _known(wrapped(*args, **kwargs))


def _replaced(wrapped: Wrapped, _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`execve(path, argv, env)`: this process becomes the child."""
    value = _heritage()
    if value and len(args) == 3:
        if not isinstance(args[0], int):
            _check(args[0], tuple(args[1]))
        args = (*args[:2], environment(value, _text(args[2])))
    return wrapped(*args, **kwargs)


def _replaced_here(wrapped: Wrapped, _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`execv(path, argv)` takes the environment as it is: it becomes `execve` with one that is handed down."""
    if len(args) == 2 and _heritage():
        return os.execve(*args, os.environ)  # noqa: S606 - what the agent asked for
    return wrapped(*args, **kwargs)


def _text(env: Mapping[Any, Any]) -> dict[str, str]:
    return {os.fsdecode(name): os.fsdecode(value) for name, value in env.items()}


def _in_shell(wrapped: Wrapped, _i: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`os.system` takes the environment as it is, of the whole process: the command itself sets what is handed down."""
    governor = current()
    if governor is None or not governor.intercepted:
        return wrapped(*args, **kwargs)
    value = _heritage()
    if value and args:
        args = (with_heritage(value, paths.text(args[0])), *args[1:])
    with children.shell(governor):
        return wrapped(*args, **kwargs)


origins.make_transparent(
    *(cast(FunctionType, f) for f in (_forked, _fork_execed, _spawned, _replaced, _replaced_here, _in_shell))
)

CLASSIFIERS: dict[str, Classifier] = {}
"""None: `processes` judges."""


def patch() -> None:
    import _posixsubprocess
    import subprocess

    os_names = ("os", "posix")
    for name in ("fork", "forkpty"):
        patch_function(os_names, name, _forked)
    for name in ("posix_spawn", "posix_spawnp"):
        patch_function(os_names, name, _spawned)
    patch_function(os_names, "execve", _replaced)
    patch_function(os_names, "execv", _replaced_here)
    patch_function(os_names, "system", _in_shell)
    patch_function(("_posixsubprocess",), "fork_exec", _fork_execed)
    if hasattr(subprocess, "_fork_exec"):
        subprocess._fork_exec = _posixsubprocess.fork_exec
