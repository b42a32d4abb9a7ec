"""Programs started, and signals sent."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat

from vaultak.floor.opening import AT_FDCWD
from vaultak.floor.places import Place
from vaultak.floor.plan import PASS, Answer, Plan, Request, passing
from vaultak.intercept.effect import Effect
from vaultak.intercept.paths import printable
from vaultak.intercept.processes import spawn
from vaultak.wire import ActionType

_AT_SYMLINK_NOFOLLOW = 0x100
_AT_EMPTY_PATH = 0x1000
_MAX_SHEBANG = 256
_LOADER = re.compile(r"/ld(-[^/]*)?\.so[^/]*$")
"""The dynamic loader, which runs the program that its arguments name."""


def _execve(r: Request) -> Plan:
    name = r.text(0)
    return _started(r, r.finder.find(AT_FDCWD, name, follow=False), r.finder.find(AT_FDCWD, name), r[1])


def _execveat(r: Request) -> Plan:
    name = r.text(1)
    if not name and r[4] & _AT_EMPTY_PATH:
        place = r.finder.descriptor(r[0])
        return _started(r, place, place, r[2])
    named = r.finder.find(r[0], name, follow=False)
    return _started(r, named, named if r[4] & _AT_SYMLINK_NOFOLLOW else r.finder.find(r[0], name), r[2])


def _started(r: Request, named: Place, real: Place, argv_address: int) -> Plan:
    info = real.stat()
    if info is None:
        raise OSError(errno.ENOENT, "no such program")
    if not stat.S_ISREG(info.st_mode) or not os.access(real.link, os.X_OK):
        raise OSError(errno.EACCES, "not a program")
    argv = [os.fsdecode(word) for word in r.tracee.texts(argv_address)]
    program = real.path if named.path.startswith("/proc/") else named.path
    cwd = os.readlink(f"/proc/{r.tracee.tid}/cwd")
    effect = spawn(program, argv or [program], op=r.name, cwd=cwd)
    further = list(effect.payload.get("resources", ()))
    further += [f"process:{printable(path)}" for path in _also_run(real, argv, cwd)]
    if further:
        effect.payload["resources"] = further
    return Plan((effect,), lambda: PASS, needs_rights=False)


def _also_run(program: Place, argv: list[str], cwd: str) -> list[str]:
    """The programs that running this one means: the interpreter of a script, what a loader is told to load."""
    if _LOADER.search(program.path):
        words = [os.path.join(cwd, word) for word in argv[1:] if not word.startswith("-")]
        return [os.path.realpath(word) for word in words[:8] if os.path.isfile(word)]
    try:
        with open(program.link, "rb", buffering=0) as f:
            start = f.read(_MAX_SHEBANG)
    except OSError:  # it can be run and not be read
        return []
    if not start.startswith(b"#!"):
        return []
    words = os.fsdecode(start[2:].split(b"\n", 1)[0]).split(None, 1)
    return list(dict.fromkeys((words[0], os.path.realpath(words[0])))) if words else []


# -- signals -----------------------------------------------------------------------------------------------------


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _signalled(r: Request, pid: int, number: int) -> Plan:
    """The numbers are in registers: the kernel acts on what was judged."""
    if number == 0 or pid == r.tracee.process:
        return passing()
    if r.protects(pid):
        raise OSError(errno.EPERM, "the supervisor")
    effect = Effect(ActionType.PROCESS_SPAWN, f"process:pid:{pid}", {"op": r.name, "signal": _signal_name(number)})
    return Plan((effect,), lambda: PASS, needs_rights=False)


def _kill(r: Request) -> Plan:
    return _signalled(r, r.integer(0), r.integer(1))


def _tgkill(r: Request) -> Plan:
    return _signalled(r, r.integer(0), r.integer(2))


def _tkill(r: Request) -> Plan:
    tid = r.integer(0)
    return _signalled(r, _process_of(tid), r.integer(1))


def _process_of(tid: int) -> int:
    try:
        with open(f"/proc/{tid}/status", "rb", buffering=0) as f:
            return int(re.search(rb"^Tgid:\s*(\d+)", f.read(), re.M)[1])  # type: ignore[index]
    except FileNotFoundError:
        raise OSError(errno.ESRCH, "no such process") from None


def _pidfd(r: Request) -> Plan:
    with r.tracee.descriptor(r[0]) as own, open(f"/proc/self/fdinfo/{own}", "rb", buffering=0) as f:
        found = re.search(rb"^Pid:\s*(-?\d+)", f.read(), re.M)
    if found is None:
        raise OSError(errno.EBADF, "no pidfd")
    plan = _signalled(r, int(found[1]), r.integer(1))

    def perform() -> Answer:
        with r.tracee.descriptor(r[0]) as own, open(f"/proc/self/fdinfo/{own}", "rb", buffering=0) as f:
            if found[0] not in f.read():
                raise OSError(errno.EBADF, "another pidfd")
            signal.pidfd_send_signal(own, r.integer(1))
        return 0

    return plan._replace(perform=perform, needs_rights=True)


HANDLERS = {
    "execve": _execve,
    "execveat": _execveat,
    "kill": _kill,
    "rt_sigqueueinfo": _kill,
    "tkill": _tkill,
    "tgkill": _tgkill,
    "rt_tgsigqueueinfo": _tgkill,
    "pidfd_send_signal": _pidfd,
}
