"""The program that runs under the floor: forked by the supervisor, filtered, and then let go."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

from vaultak.floor import kernel
from vaultak.floor.kernel import Listener, PreparedFilter
from vaultak.floor.orders import Order
from vaultak.floor.syscalls import table

_NOT_FOUND, _NOT_RUNNABLE = 127, 126

_DEFAULTED = (
    signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU, signal.SIGPIPE, signal.SIGXFSZ,
)  # fmt: skip
"""Ignored by the supervisor or by Python; a program expects their defaults."""


class Program:
    """Start it while this process has one thread, `go` once somebody answers its system calls."""

    def __init__(self, order: Order) -> None:
        self._program = order.program
        self._argv = order.argv
        self._env = dict(order.env)
        self._group = order.group
        self._go = -1
        self._seen_exec = False
        self._lock = threading.Lock()
        self.pid = -1
        self.is_over = False

    def start(self) -> Listener:
        """Fork, and fetch the listener of the child's filter. Raises `OSError` where there can be none."""
        architecture = table()
        assert architecture is not None
        prepared = PreparedFilter(architecture)
        told, tell = os.pipe()
        wait, self._go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._child(prepared, tell, wait)
        os.close(tell)
        os.close(wait)
        with open(told, "rb", buffering=0) as f:
            answer = f.read(32)
        pidfd = os.pidfd_open(self.pid)
        try:
            number = int(answer or b"-1")
            if number < 0:
                raise OSError(-number, os.strerror(-number))
            return Listener(kernel.descriptor_of(pidfd, number))
        except OSError:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise
        finally:
            os.close(pidfd)

    def _child(self, prepared: PreparedFilter, tell: int, wait: int) -> None:
        """From the filter on, nothing here may open, connect or exec before `go`."""
        code = _NOT_RUNNABLE
        try:
            with suppress(OSError):
                os.setpgid(0, self._group)
            for number in _DEFAULTED:
                signal.signal(number, signal.SIG_DFL)
            program, argv, env = self._program, self._argv, self._env
            try:
                os.write(tell, b"%d" % prepared.install())
            except OSError as e:
                os.write(tell, b"%d" % -(e.errno or 1))
                os._exit(code)
            if os.read(wait, 1):
                os.execve(program, argv, env)  # noqa: S606 - the program that was asked for
        except FileNotFoundError:
            code = _NOT_FOUND
        except OSError:
            pass
        finally:
            os._exit(code)

    def go(self) -> None:
        os.write(self._go, b"g")
        os.close(self._go)

    def is_first_exec(self, tid: int, name: str) -> bool:
        """Whether a call is the start of the program itself, which no agent asked for. True once."""
        with self._lock:
            first = name == "execve" and tid == self.pid and not self._seen_exec
            self._seen_exec |= first
        return first

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            if not self.is_over:
                os.kill(self.pid, number)

    def wait(self) -> int:
        """Reap what ends until the program itself does; its exit code, 128 + n for signal n."""
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == self.pid:
                self.is_over = True
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code

    def reap(self) -> None:
        """Reap those it left behind."""
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)
