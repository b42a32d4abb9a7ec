"""The supervisor's process: started afresh, told what to do over a socket, outside the filter and its own leader."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from vaultak.agent import Agent
from vaultak.client import Vaultak
from vaultak.floor import orders
from vaultak.floor.kernel import Listener, make_subreaper
from vaultak.floor.orders import Message, Order
from vaultak.floor.program import Program
from vaultak.floor.relay import RelayPublisher
from vaultak.floor.supervisor import Supervisor
from vaultak.floor.syscalls import table
from vaultak.floor.tracee import descendants
from vaultak.policy.evaluate import CompiledPolicy
from vaultak.undo import agent_directory
from vaultak.wire import AgentState

log = logging.getLogger("vaultak")

_KILL_DEADLINE_S = 2.0
_WATCH_S = 3600.0


class Host:
    """The other end of the socket. Thread-safe."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()

    def tell(self, message: Message) -> None:
        """Nobody listening any more is no error."""
        with self._lock, suppress(OSError):
            orders.send(self._sock, message)

    def receive(self) -> Message | None:
        return orders.receive(self._sock)


def main(fd: int) -> int:
    """Obey the order that comes over descriptor `fd`; the exit code of this process."""
    logging.basicConfig(format="vaultak: %(message)s", level=logging.WARNING)
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    order = orders.receive_order(sock)
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    host = Host(sock)
    program = Program(order)
    try:
        listener = program.start()
    except OSError as e:
        host.tell(Message("failed", text=f"the floor cannot be laid: {e.strerror or e}"))
        return 1
    return _Session(order, host, program, listener).run()


class _Session:
    """One program under its floor, from start to end."""

    def __init__(self, order: Order, host: Host, program: Program, listener: Listener) -> None:
        self._host = host
        self._program = program
        self._client = client_for(order, host)
        self._agent = self._client._agent(order.agent_id)  # judged here, without a monitor in between
        self._supervisor = supervisor_for(
            order, self._client, self._agent, listener, kill_everything, program.is_first_exec
        )

    def run(self) -> int:
        threading.Thread(target=self._listen, name="vaultak-floor-host", daemon=True).start()
        watch_for_kill(self._agent, kill_everything)
        make_subreaper()
        served = threading.Thread(target=self._supervisor.serve, name="vaultak-floor-serve", daemon=True)
        served.start()
        self._program.go()
        code = self._program.wait()
        if descendants(os.getpid()):
            self._detach(code)
            served.join()
        self._client.close()
        self._host.tell(Message("exited", code))
        return 0

    def _detach(self, code: int) -> None:
        """The program is over and left others behind: they stay under the floor, and nobody waits for them."""
        self._client.flush(1.0)
        self._host.tell(Message("detached", code))
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        threading.Thread(target=self._program.reap, name="vaultak-floor-reap", daemon=True).start()

    def _listen(self) -> None:
        while (message := self._host.receive()) is not None:
            if message.kind == "signal":
                self._program.signal(message.number)
        if not self._program.is_over:  # whoever waits for the program was killed
            kill_everything()


def client_for(order: Order, host: Host) -> Vaultak:
    """A client that judges as the one that sent the order does."""
    return Vaultak(
        policy=order.policy,
        settings=orders.unpack_settings(order.settings),
        pause_timeout_s=order.pause_timeout_s,
        rollback_limit=order.rollback_limit,
        publisher=RelayPublisher(host.tell) if order.relays else None,
    )


def supervisor_for(
    order: Order,
    client: Vaultak,
    agent: Agent,
    listener: Listener,
    killed: Callable[[], None],
    excused: Callable[[int, str], bool],
) -> Supervisor:
    """Judges by `agent`, and keeps what is governed away from the supervisor's own files."""
    architecture = table()
    assert architecture is not None
    settings = client.settings
    spool = os.path.realpath(settings.spool_dir)
    journal = os.path.realpath(agent_directory(settings.data_dir, order.agent_id))
    return Supervisor(
        listener,
        architecture,
        agent,
        CompiledPolicy(client.policy),
        session_id=order.session_id,
        labels=order.labels,
        killed=killed,
        own_paths=(f"{spool}/{os.getpid()}-", f"{journal}/{agent.emitter.instance}/"),
        excused=excused,
    )


def kill_everything() -> None:
    """SIGKILL whatever descends from this process, until nothing does."""
    deadline = time.monotonic() + _KILL_DEADLINE_S
    while time.monotonic() < deadline:
        alive = descendants(os.getpid())
        if not alive:
            return
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def watch_for_kill(agent: Agent, killed: Callable[[], None]) -> None:
    """Have `killed` called once the agent is killed, whoever killed it."""

    def answer() -> bool | None:
        return True if agent.state is AgentState.KILLED else None

    def watch() -> None:
        while not agent._waiting.wait("floor", answer, _WATCH_S):  # where each change of state is announced
            pass
        killed()

    threading.Thread(target=watch, name="vaultak-floor-kill", daemon=True).start()
