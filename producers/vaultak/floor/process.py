"""The supervisor's process: started afresh, told what to do over a socket, outside the filter and its own leader."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading

from vaultak.floor import attached, orders
from vaultak.floor.kernel import Listener, make_subreaper
from vaultak.floor.orders import Message, Order
from vaultak.floor.program import Program
from vaultak.floor.relay import Relay
from vaultak.floor.session import (
    below_this,
    client_for,
    kill_all,
    own_paths,
    settle_down,
    subject_for,
    this_table,
    watch_for_kill,
)
from vaultak.floor.supervisor import Supervisor


def main(fd: int) -> int:
    """Obey the order that comes over descriptor `fd`; the exit code of this process."""
    _log_to_stderr()
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    order = orders.receive_order(sock)
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    host = Relay(sock)
    if not order.program:
        return attached.serve(order, sock, host)
    program = Program(order)
    try:
        listener = program.start()
    except OSError as e:
        orders.send(sock, Message("failed", text=f"the floor cannot be laid: {e.strerror or e}"))
        return 1
    settle_down()
    host.start()
    return _Session(order, host, program, listener).run()


class _Session:
    """One program under its floor, from start to end."""

    def __init__(self, order: Order, host: Relay, program: Program, listener: Listener) -> None:
        self._host = host
        self._program = program
        self._client = client_for(order, host)
        self._subject = subject_for(order, self._client)
        self._supervisor = Supervisor(
            listener,
            this_table(),
            self._subject,
            killed=_kill,
            own_paths=own_paths(self._client, self._subject),
            excused=program.is_first_exec,
        )

    def run(self) -> int:
        threading.Thread(target=self._listen, name="vaultak-floor-host", daemon=True).start()
        watch_for_kill(self._subject.agent, _kill)
        make_subreaper()
        served = threading.Thread(target=self._supervisor.serve, name="vaultak-floor-serve", daemon=True)
        served.start()
        self._program.go()
        code = self._program.wait()
        if below_this():
            self._detach(code)
            served.join()
        self._client.close()
        self._host.tell(Message("exited", code))
        self._host.flush()
        return 0

    def _detach(self, code: int) -> None:
        """The program is over and left others behind: they stay under the floor, and nobody waits for them."""
        self._client.flush(1.0)
        self._host.tell(Message("detached", code))
        self._host.flush()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        threading.Thread(target=self._program.reap, name="vaultak-floor-reap", daemon=True).start()

    def _listen(self) -> None:
        while (message := self._host.receive()) is not None:
            if message.kind == "signal":
                self._program.signal(message.number)
        if not self._program.is_over:  # whoever waits for the program was killed
            _kill()


def _kill() -> None:
    kill_all(below_this)


def _log_to_stderr() -> None:
    """What the SDK has to say; not what the libraries under it repeat."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("vaultak: %(message)s"))
    log = logging.getLogger("vaultak")
    log.addHandler(handler)
    log.propagate = False
    logging.lastResort = None
