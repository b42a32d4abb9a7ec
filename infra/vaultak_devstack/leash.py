"""Run a command that does not outlive the process that started it.

Run as a script, with the interpreter isolated (`python -I -S leash.py SIGNAL PARENT_PID COMMAND...`): no imports beyond
the standard library, a few milliseconds. On Linux the kernel is asked to signal the process when its parent dies and
the command takes the place of this script; elsewhere this script stays and looks after its parent's life itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
POLL_S = 0.5


def _exec_with_death_signal(death_signal: int, parent: int, command: list[str]) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - the point of this script; the caller chose the command


def _watch(death_signal: int, parent: int, command: list[str]) -> int:
    child = subprocess.Popen(command)  # noqa: S603 - the caller chose the command
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: child.send_signal(received))
    while True:
        try:
            return child.wait(POLL_S)
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                child.send_signal(death_signal)
                time.sleep(POLL_S)


def main(arguments: list[str]) -> int:
    death_signal, parent, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if sys.platform == "linux":
        _exec_with_death_signal(death_signal, parent, command)
    return _watch(death_signal, parent, command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
