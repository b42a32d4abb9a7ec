"""Processes: started, replaced, forked, signalled.

The resource is the program; its arguments, and the files named in them, are in the payload (`argv`, `resources`).
One start is one action, however many events it raises: `subprocess` over `posix_spawn` or `fork_exec`, and
`os.spawn*` over fork and exec, are judged once, with the very arguments that run.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from vaultak.inherit.shell import without_heritage
from vaultak.intercept import paths
from vaultak.intercept.calls import covered, here, observe
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.enforce import enforce
from vaultak.intercept.patching import patch_function, patch_method
from vaultak.wire import ActionType

SHELL = "/bin/sh"
MAX_ARGUMENTS = 256
MAX_RESOURCES = 64
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})
_FORK = "fork"


def _program(name: object, env: Mapping[Any, Any] | None = None, cwd: object = None) -> str:
    """The absolute program behind a name, looked up as the kernel and `execvp` would.

    The directory is canonical. The last component stays as named inside a directory of programs (`/usr/bin/python3`
    says more than what it links to); elsewhere a link is followed: it could be an alias for anything.
    """
    text = paths.text(name)
    if os.sep not in text:
        text = _search(text, env)
    elif cwd is not None:
        text = os.path.join(paths.text(cwd), text)
    path = paths.resolve(text, follow=False) or os.path.abspath(text)
    if os.path.dirname(path) in _program_directories():
        return path
    return paths.resolve(path) or path


def _search(name: str, env: Mapping[Any, Any] | None) -> str:
    try:
        directories = os.get_exec_path(cast("Mapping[str, str] | None", env))
    except (TypeError, ValueError):
        directories = os.defpath.split(os.pathsep)
    for directory in directories:
        candidate = os.path.join(directory, name)
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return os.path.join(os.sep, name)


def _program_directories() -> frozenset[str]:
    standard = ("/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin", os.path.dirname(sys.executable or "/bin/x"))
    return frozenset(os.path.realpath(directory) for directory in standard)


def _named_files(argv: Sequence[str], cwd: object = None) -> list[str]:
    """Files that arguments name, resolved: absolute and relative paths, `--option=path`, words of a shell's command."""
    words: list[str] = []
    for position, word in enumerate(argv[1:MAX_ARGUMENTS], 1):
        if argv[position - 1] == "-c" and os.path.basename(argv[0]) in _SHELLS:
            words += _shell_words(word)
        else:
            words.append(word)
    base = paths.text(cwd) if cwd is not None else ""
    found: dict[str, None] = {}
    for word in words:
        path = word.partition("=")[2] if word.startswith("-") and "=" in word else word
        if path and not path.startswith("-") and "://" not in path and "\0" not in path:
            full = os.path.join(base, os.path.expanduser(path))
            if os.sep in path or os.path.lexists(full):
                found[paths.printable(paths.resolve(full) or full)] = None
    return list(found)[:MAX_RESOURCES]


def _shell_words(command: str) -> list[str]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return command.split()


def spawn(
    program: object, argv: Sequence[object], *, op: str, env: Mapping[Any, Any] | None = None, cwd: object = None
) -> Effect:
    """The effect of starting a program."""
    path = _program(program, env, cwd)
    words = [paths.text(word) for word in argv]
    payload: dict[str, Any] = {"op": op, "argv": [paths.printable(word) for word in words[:MAX_ARGUMENTS]]}
    real = os.path.realpath(path)
    if real != path:
        payload["real_program"] = paths.printable(real)
    if cwd is not None:
        payload["cwd"] = paths.printable(os.path.abspath(paths.text(cwd)))
    if named := _named_files(words, cwd):
        payload["resources"] = named
    return Effect(ActionType.PROCESS_SPAWN, f"process:{paths.printable(path)}", payload)


def _same_start(effect: Effect, argv: Sequence[object]) -> tuple[object, ...]:
    """What makes two starts the same one: the program that really runs and its arguments."""
    return ("start", effect.resource, tuple(paths.text(word) for word in argv))


def _arguments(argv: object) -> Sequence[object]:
    if isinstance(argv, str | bytes | os.PathLike):
        return (argv,)
    return tuple(cast("Sequence[object]", argv))


def _covering(o: Occurrence, effect: Effect, argv: Sequence[object], *also: object) -> Effects:
    """The effect of a start whose inner events (fork, exec, posix_spawn) are to be taken as part of it."""
    call = o.call

    def cover(action_id: str) -> None:
        if call is not None:
            call.covered |= dict.fromkeys((_same_start(effect, argv), *also), action_id)

    return (effect.but(allowed=cover),)


def _unless_covered(effect: Effect, argv: Sequence[object]) -> Effects:
    return NONE if covered(_same_start(effect, argv)) else (effect,)


def _here(path: object) -> str:
    """A program that is not looked up in `PATH`."""
    text = paths.text(path)
    return text if os.sep in text else os.path.join(os.curdir, text)


def _popen(o: Occurrence) -> Effects:
    executable, args, cwd, env = o.args
    argv = _arguments(args)
    if o.call is not None and o.call.name != "subprocess.Popen":
        o = o.but(call=None)
    return _covering(o, spawn(executable, argv, op=o.event, env=env, cwd=cwd), argv)


def _system(o: Occurrence) -> Effects:
    command = without_heritage(paths.text(o.args[0]))
    return (spawn(SHELL, ("sh", "-c", command), op=o.event),)


def _exec(o: Occurrence) -> Effects:
    program, args, env = o.args
    argv = _arguments(args)
    searched = o.event == "os.posix_spawn" and not os.path.exists(program)
    if not searched and not os.path.exists(program):
        return NONE  # `os.execvp` tries one directory after the other; this try comes to nothing
    return _unless_covered(spawn(program if searched else _here(program), argv, op=o.event, env=env), argv)


def _fork(o: Occurrence) -> Effects:
    if covered(_FORK):
        return NONE
    program = paths.printable(_program(sys.executable or "python"))
    return (Effect(ActionType.PROCESS_SPAWN, f"process:{program}", {"op": o.event}),)


def _signalled(o: Occurrence) -> Effects:
    pid, number = o.args
    if number == 0:
        return NONE  # only asks whether the process is there
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = str(number)
    if o.event == "os.killpg":
        pid = -pid
    return (Effect(ActionType.PROCESS_SPAWN, f"process:pid:{pid}", {"op": o.event, "signal": name}),)


CLASSIFIERS: dict[str, Classifier] = {
    "subprocess.Popen": _popen,
    "os.system": _system,
    "os.exec": _exec,
    "os.posix_spawn": _exec,
    "os.fork": _fork,
    "os.forkpty": _fork,
    "os.kill": _signalled,
    "os.killpg": _signalled,
}


def _spawned(o: Occurrence) -> Effects:
    """`os._spawnvef(mode, file, args, env, func)`, under every `os.spawn*`: judged in the parent, which outlives a
    refusal; the fork and the exec inside belong to it."""
    _mode, program, args, env, execute = o.args
    argv = _arguments(args)
    searched = getattr(execute, "__name__", "").startswith("execvp")
    effect = spawn(program if searched else _here(program), argv, op="os.spawn", env=env)
    return _covering(o, effect, argv, _FORK)


def _fork_execed(o: Occurrence) -> Effects:
    """`_posixsubprocess.fork_exec(args, programs, close_fds, keep, cwd, ...)`: multiprocessing, or a direct call."""
    argv, programs, cwd = _arguments(o.args[0]), _arguments(o.args[1]), o.args[4]
    program = next((p for p in programs if os.path.isfile(paths.text(p))), programs[0] if programs else argv[0])
    return _unless_covered(spawn(_here(program), argv, op="fork_exec", cwd=cwd), argv)


def _forget_parents_actions() -> None:
    for call in here.calls:
        call.actions.clear()


def patch() -> None:
    """Outcomes for every start, and judgement where Python raises no event."""
    import _posixsubprocess
    import subprocess

    patch_method(subprocess.Popen, "__init__", observe("subprocess.Popen"))
    for name in ("system", "posix_spawn", "posix_spawnp", "kill", "killpg", "execv", "execve", "fork", "forkpty"):
        patch_function(("os", "posix"), name, observe(f"os.{name}"))
    patch_function(("os",), "_spawnvef", enforce("os._spawnvef", _spawned))
    patch_function(("_posixsubprocess",), "fork_exec", enforce("fork_exec", _fork_execed))
    if getattr(subprocess, "_fork_exec", None) is not None:
        subprocess._fork_exec = _posixsubprocess.fork_exec  # type: ignore[attr-defined]
    # A fork inside a call leaves its actions to the parent: the child must not settle them a second time.
    os.register_at_fork(after_in_child=_forget_parents_actions)
