"""The supervisor of a thread that laid the floor under itself: `with vt.monitor("a", floor="auto")`."""

from __future__ import annotations

import os
import re
import socket
import threading
from contextlib import suppress

from vaultak.client import Vaultak
from vaultak.floor import kernel, orders
from vaultak.floor.kernel import Listener
from vaultak.floor.notes import Notes
from vaultak.floor.orders import Message, Order
from vaultak.floor.relay import Relay
from vaultak.floor.session import (
    client_for,
    kill_all,
    own_directories,
    own_paths,
    settle_down,
    subject_for,
    this_table,
    watch_for_kill,
)
from vaultak.floor.supervisor import Subject, Supervisor
from vaultak.floor.tracee import Tracee, descendants, status_of
from vaultak.intercept.effect import Effect
from vaultak.wire import ActionType

_HOST = socket.gethostname()[:64]
"""How the names of this machine's agent instances begin; the process follows."""
_FILES = (ActionType.FILE_READ, ActionType.FILE_WRITE, ActionType.FILE_DELETE, ActionType.PERMISSION_CHANGE)
_BIRTH = re.compile(r"/proc/\d+/stat")
"""How the SDK tells a process from a later one with its number."""
_FILTERED = "2"
"""What `/proc/<pid>/status` says of a process under a filter."""


def serve(order: Order, sock: socket.socket, host: Relay) -> int:
    """Supervise the parent's thread until nothing is left under its filter; the exit code."""
    parent = os.getppid()
    try:
        os.close(os.open(f"/proc/{parent}/mem", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as e:
        orders.send(sock, Message("failed", text=f"the supervisor may not read this process: {e.strerror}"))
        return 1
    settle_down()
    session = _Attached(order, host, parent)
    orders.send(sock, Message("ready"))
    message = orders.receive(sock)
    if message is None or message.kind != "listener":
        return 1  # the thread did not come under the filter
    try:
        listener = _fetch(parent, message.number)
    except OSError as e:
        orders.send(sock, Message("failed", text=f"the supervisor cannot have the listener: {e.strerror}"))
        return 1
    session.run(listener)
    return 0


def _fetch(parent: int, number: int) -> Listener:
    pidfd = os.pidfd_open(parent)
    try:
        return Listener(kernel.descriptor_of(pidfd, number))
    finally:
        os.close(pidfd)


class _Attached:
    """The sessions of one thread, one after the other or nested; the last that began is judged for."""

    def __init__(self, order: Order, host: Relay, parent: int) -> None:
        self._host = host
        self._parent = parent
        self._notes = Notes(order.notes)
        self._clients: dict[str, Vaultak] = {}
        self._watched: set[int] = set()
        self._supervisor: Supervisor | None = None
        self._spool = ""
        self._journals: set[str] = set()
        self._own_paths: tuple[str, ...] = ()
        self._first = self._subject(order)

    def _subject(self, order: Order) -> Subject:
        key = f"{order.policy!r}{order.settings!r}{order.pause_timeout_s}{order.rollback_limit}{order.redact!r}"
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = client_for(order, self._host)
        subject = subject_for(order, client)
        self._own_paths = own_paths(client, subject)
        self._spool, journal = own_directories(client, subject.agent.agent_id)
        self._journals.add(os.path.dirname(journal))
        if id(subject.agent) not in self._watched:
            self._watched.add(id(subject.agent))
            watch_for_kill(subject.agent, self._kill)
        return subject

    def run(self, listener: Listener) -> None:
        supervisor = self._supervisor = Supervisor(
            listener,
            this_table(),
            self._first,
            killed=self._kill,
            own_paths=self._own_paths,
            noted=self._is_noted,
        )
        self._host.start()
        self._host.tell(Message("ready"))
        threading.Thread(target=self._listen, args=(supervisor,), name="vaultak-floor-host", daemon=True).start()
        supervisor.serve()
        for client in self._clients.values():
            client.close()
        self._host.flush()

    def _is_noted(self, effect: Effect, tracee: Tracee) -> bool:
        return self._notes.has(effect.action_type, effect.resource, tracee.tid) or self._is_upkeep(effect, tracee)

    def _is_upkeep(self, effect: Effect, tracee: Tracee) -> bool:
        """Whether the SDK in a governed process looks after itself; its journal and queue are named after it."""
        if effect.action_type not in _FILES:
            return False
        path = effect.resource
        if effect.action_type is ActionType.FILE_READ and _BIRTH.fullmatch(path):
            return True
        if path.startswith(f"{self._spool}/{tracee.process}-"):
            return True
        root, agent, instance = _journal_of(path, self._journals)
        if not root or not agent:
            return False
        makes_agent = not instance and effect.payload.get("op") in ("mkdir", "mkdirat")
        return makes_agent or instance.startswith(f"{_HOST}-{tracee.process}-")

    def _listen(self, supervisor: Supervisor) -> None:
        while (message := self._host.receive()) is not None:
            subject = supervisor.subject
            if message.kind == "begin" and message.order is not None:
                supervisor.subject = self._subject(message.order)
                self._host.tell(Message("ready"))
            elif message.kind == "over":
                supervisor.subject = None
                self._host.tell(Message("ready"))
            elif message.kind == "approve" and subject is not None:
                subject.agent.approve(message.text or None)
            elif message.kind == "deny" and subject is not None:
                subject.agent.deny(message.text or None)

    def _kill(self) -> None:
        """The program itself is told, and raises; its children under the filter are killed."""
        subject = self._supervisor.subject if self._supervisor is not None else None
        self._host.tell(Message("killed", text=subject.agent.agent_id if subject is not None else ""))
        kill_all(self._children)

    def _children(self) -> list[int]:
        found = []
        for pid in descendants(self._parent):
            with suppress(OSError, KeyError):
                status = status_of(pid)
                if status["Seccomp"] == _FILTERED and pid != os.getpid() and status["State"][0] != "Z":
                    found.append(pid)
        return found


def _journal_of(path: str, roots: set[str]) -> tuple[str, str, str]:
    """The root of journals that `path` is below, and the agent and the instance it names there; empty where none."""
    for root in roots:
        if path.startswith(root + "/"):
            agent, _, rest = path[len(root) + 1 :].partition("/")
            return root, agent, rest.partition("/")[0]
    return "", "", ""
