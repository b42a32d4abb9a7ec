"""What both kinds of supervised session are made of: a client that judges, a supervisor, an end by force."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from vaultak.agent import Agent
from vaultak.client import Vaultak
from vaultak.floor.orders import Order
from vaultak.floor.relay import Relay
from vaultak.floor.supervisor import Subject
from vaultak.floor.syscalls import Table, table
from vaultak.floor.tracee import descendants
from vaultak.terms import unpack_settings
from vaultak.undo import agent_directory
from vaultak.wire import AgentState

_KILL_DEADLINE_S = 2.0
_WATCH_S = 3600.0


def client_for(order: Order, host: Relay) -> Vaultak:
    """A client that judges as the one that sent the order does."""
    return Vaultak(
        policy=order.policy,
        settings=unpack_settings(order.settings),
        pause_timeout_s=order.pause_timeout_s,
        state_timeout_s=order.state_timeout_s,
        rollback_limit=order.rollback_limit,
        publisher=host if order.relays else None,
        redact=order.redact,
    )


def subject_for(order: Order, client: Vaultak) -> Subject:
    """Whom an order is about; its agent begins to obey commands."""
    agent = client._agent(order.agent_id)  # judged here, without a monitor in between
    return Subject(agent, order.session_id, order.labels, tuple(order.sources))


def own_directories(client: Vaultak, agent_id: str) -> tuple[str, str]:
    """Where queues and journals are, each below it in a directory of one process's own."""
    settings = client.settings
    return os.path.realpath(settings.spool_dir), os.path.realpath(agent_directory(settings.data_dir, agent_id))


def own_paths(client: Vaultak, subject: Subject) -> tuple[str, ...]:
    """The supervisor's own files, which nobody under it can reach: its queue and its journal."""
    spool, journal = own_directories(client, subject.agent.agent_id)
    return (f"{spool}/{os.getpid()}-", f"{journal}/{subject.agent.emitter.instance}/")


def settle_down() -> None:
    """Make this process ready to hold many calls, in no directory of anybody's."""
    os.chdir("/")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def this_table() -> Table:
    architecture = table()
    assert architecture is not None  # asked for before the supervisor was started
    return architecture


def kill_all(find: Callable[[], Iterable[int]]) -> None:
    """SIGKILL what `find` finds, until it finds nothing."""
    deadline = time.monotonic() + _KILL_DEADLINE_S
    while time.monotonic() < deadline:
        alive = list(find())
        if not alive:
            return
        for pid in alive:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def below_this() -> list[int]:
    return descendants(os.getpid())


def watch_for_kill(agent: Agent, killed: Callable[[], None]) -> None:
    """Have `killed` called once the agent is killed, whoever killed it."""

    def answer() -> bool | None:
        return True if agent.state is AgentState.KILLED else None

    def watch() -> None:
        while not agent._waiting.wait("floor", answer, _WATCH_S):  # where each change of state is announced
            pass
        killed()

    threading.Thread(target=watch, name="vaultak-floor-kill", daemon=True).start()
