"""Starting a supervisor, and a program under it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from vaultak import governor
from vaultak.errors import ConfigurationError, VaultakError
from vaultak.floor import orders
from vaultak.floor.orders import Message, Order
from vaultak.wire import uuid7

if TYPE_CHECKING:
    from vaultak.client import Vaultak

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from vaultak.floor.process import main; sys.exit(main(int(sys.argv[2])))"
)
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_HELD_BACK = (signal.SIGINT, signal.SIGQUIT)
SUPERVISOR_DIED = 125
"""Exit code when the supervisor ended before the program did."""


def run_under_floor(
    argv: Sequence[str | bytes],
    *,
    client: Vaultak,
    agent_id: str,
    session_id: str | None = None,
    labels: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run a program whose system calls, and those of all it starts, are judged by the policy of `client`.

    Blocks until it ends; returns its exit code, 128 + n for signal n, 127 and 126 where it cannot be found or run.
    What it leaves running stays under the floor. SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 are passed on to it when this
    is the main thread. Raises `VaultakError` where there is no floor: the program has not been started then.
    """
    environment = dict(os.environ if env is None else env)
    program = find_program(argv, environment)
    if program is None:
        return 127
    order = order_for(client, agent_id, session_id or uuid7(), dict(labels or {}))
    order = msgspec.structs.replace(
        order,
        program=os.fsencode(program),
        argv=tuple(os.fsencode(word) for word in argv),
        env=tuple((os.fsencode(name), os.fsencode(value)) for name, value in environment.items()),
        group=os.getpgrp(),
    )
    with _started(order) as (process, sock), _passing_signals_on(sock):
        return _outcome(client, process, sock)


def find_program(argv: Sequence[str | bytes], env: Mapping[str, str]) -> str | None:
    """Where the program is, as `execvp` would look it up. Raises `ConfigurationError` when there is none to run."""
    if not argv or not argv[0]:
        raise ConfigurationError("no program to run")
    name = os.fsdecode(argv[0])
    return name if os.sep in name else shutil.which(name, path=env.get("PATH", os.defpath))


def order_for(
    client: Vaultak, agent_id: str, session_id: str, labels: dict[str, str], sources: Sequence[str] = ()
) -> Order:
    """The order that has a supervisor judge as `client` does."""
    return Order(**client.terms(agent_id, session_id, labels), sources=tuple(sources), relays=not client._connects)


def spawn_supervisor(order: Order, *shared: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A supervisor's process that has got its order, and the socket to it; one descriptor may be `shared` with it."""
    ours, theirs = socket.socketpair()
    if shared:
        order = msgspec.structs.replace(order, notes=shared[0])
    token = governor.activate(None)  # starting the supervisor is no action of anybody's
    search_path = json.dumps([os.path.abspath(directory) for directory in sys.path if directory])
    try:
        process = subprocess.Popen(  # noqa: S603 - this very interpreter, with our own code
            [
                sys.executable,
                "-I",
                "-c",
                _BOOT,
                search_path,
                str(theirs.fileno()),
            ],
            pass_fds=(theirs.fileno(), *shared),
        )
        orders.send_order(ours, order)
    except BaseException:
        ours.close()
        raise
    finally:
        governor.deactivate(token)
        theirs.close()
    return process, ours


@contextmanager
def _started(order: Order) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    from vaultak.floor import reason_unavailable

    if reason := reason_unavailable():
        raise VaultakError(f"no floor: {reason}")
    process, sock = spawn_supervisor(order)
    with sock:
        yield process, sock


def _outcome(client: Vaultak, process: subprocess.Popen[bytes], sock: socket.socket) -> int:
    """Publish what the supervisor passes on until the program is over; its exit code."""
    while (message := orders.receive(sock)) is not None:
        if message.kind == "event" and message.event is not None:
            client._the_publisher().emit(*message.event)
        elif message.kind == "failed":
            process.wait()
            raise VaultakError(message.text)
        elif message.kind in ("exited", "detached"):
            if message.kind == "exited":
                process.wait()
            return message.number
    process.wait()
    return SUPERVISOR_DIED


@contextmanager
def _passing_signals_on(sock: socket.socket) -> Iterator[None]:
    """Signals from outside are for the program; those of the terminal reach it by themselves."""
    if not _is_main_thread():
        yield
        return

    def pass_on(number: int, _frame: object) -> None:
        with suppress(OSError):  # it has just ended
            orders.send(sock, Message("signal", number))

    before = {number: signal.signal(number, pass_on) for number in _FORWARDED}
    before |= {number: signal.signal(number, signal.SIG_IGN) for number in _HELD_BACK}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
