"""Ending one agent: again and again, until nothing works for it any more."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter

from vaultak import outside
from vaultak.ending import children, tasks, threads
from vaultak.errors import AgentKilledError
from vaultak.governor import killed, working

log = logging.getLogger("vaultak")

FIRST_LOOK_S, LAST_LOOK_S = 0.005, 0.25
"""How long between two looks: what is not ended by the tenth is blocked in a system call, or resists."""
QUIET_LOOKS = 3
PATIENCE = 3
"""How often a thread may swallow its end before it gets it twice."""

_lock = threading.Lock()
_under_way: set[str] = set()


def end(agent_id: str, why: str) -> None:
    """Begin to end everything that works for an agent; returns at once. Its own threads, tasks and processes only."""
    killed.add(agent_id)
    with _lock:
        if agent_id in _under_way:
            return
        _under_way.add(agent_id)
    try:
        outside.start(threading.Thread(target=_end, args=(agent_id, why), name="vaultak-ending", daemon=True))
    except RuntimeError:  # the interpreter is about to end
        _under_way.discard(agent_id)


def _end(agent_id: str, why: str) -> None:
    hunt = _Hunt(agent_id, why)
    pause_s, quiet = FIRST_LOOK_S, 0
    try:
        while quiet < QUIET_LOOKS:
            quiet = 0 if hunt.look() else quiet + 1
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.2, LAST_LOOK_S)
    except Exception:
        log.exception("agent %r is killed, but not all that it started could be ended", agent_id)
    finally:
        threads.settle()
        _under_way.discard(agent_id)


class _Hunt:
    """One kill under way."""

    def __init__(self, agent_id: str, why: str) -> None:
        self._agent_id = agent_id
        self._hits: Counter[int] = Counter()
        self._error = _error(agent_id, why, self._hits)

    def look(self) -> bool:
        """End what is found; whether something still worked for the agent."""
        found = children.end(self._agent_id) > 0
        loops = set(tasks.loops())
        for ident, governor in list(working.items()):
            if governor is None or governor.agent_id != self._agent_id or not tasks.is_killed(governor):
                continue
            found = True
            loop = threads.loop_of(ident)
            if loop is not None:
                loops.add(loop)
            else:
                threads.interrupt(ident, governor, self._error, stubborn=self._hits[ident] >= PATIENCE)
        for loop in loops:
            found = tasks.end(loop, self._agent_id) or found
        return found


def _error(agent_id: str, why: str, hits: Counter[int]) -> type[BaseException]:
    """What is raised in its threads: it is made there from the class alone, so the class knows the rest, and counts."""

    def __init__(self: AgentKilledError) -> None:  # noqa: N807
        hits[threading.get_ident()] += 1
        AgentKilledError.__init__(self, f"agent `{agent_id}` is killed: {why}")

    members = {"__init__": __init__, "__module__": AgentKilledError.__module__}
    return type("AgentKilledError", (AgentKilledError,), members)


def uncancel() -> None:
    """The running task, if one runs, has left a killed agent."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return
    if task is not None:
        tasks.uncancel(task)
