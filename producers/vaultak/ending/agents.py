"""Ending one agent: again and again, until nothing works for it any more."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import Counter

from vaultak import outside
from vaultak.ending import children, tasks, threads
from vaultak.errors import AgentKilledError
from vaultak.governor import bound, boundary, killed, working

log = logging.getLogger("vaultak")

FIRST_LOOK_S, LAST_LOOK_S = 0.005, 0.25
"""How long between two looks: what is not ended by the tenth is blocked in a system call, or resists."""
PAUSE_GROWTH = 1.2
QUIET_LOOKS = 3
PATIENCE = 3
"""How often a thread may swallow its end before it gets it twice."""

_lock = threading.Lock()
_under_way: dict[str, _Hunt] = {}


def end(agent_id: str, why: str) -> None:
    """Begin to end everything that works for an agent; returns at once. Its own threads, tasks and processes only.

    A kill that finds another of that name under way (the agent was resumed since, or is another client's) has it
    begin again.
    """
    killed.add(agent_id)
    with _lock:
        if (hunt := _under_way.get(agent_id)) is not None:
            hunt.ordered.set()
            return
        hunt = _under_way[agent_id] = _Hunt(agent_id, why)
    try:
        outside.start(threading.Thread(target=hunt.run, name="vaultak-ending", daemon=True))
    except RuntimeError:  # the interpreter is about to end
        _under_way.pop(agent_id, None)


class _Hunt:
    """One kill under way. `ordered`: somebody killed an agent of that name, and no look has been taken since."""

    def __init__(self, agent_id: str, why: str) -> None:
        self.ordered = threading.Event()
        self._agent_id = agent_id
        self._hits: Counter[int] = Counter()
        self._error = _error(agent_id, why, self._hits)

    def run(self) -> None:
        """Look until nothing is found several times in a row, and nobody has asked for more."""
        pause_s, quiet = FIRST_LOOK_S, 0
        try:
            while not self._is_over(quiet):
                quiet = 0 if self.look() else quiet + 1
                if self.ordered.wait(pause_s):
                    self.ordered.clear()
                    pause_s, quiet = FIRST_LOOK_S, 0
                else:
                    pause_s = min(pause_s * PAUSE_GROWTH, LAST_LOOK_S)
        except Exception:
            log.exception("agent %r is killed, but not all that it started could be ended", self._agent_id)
            _under_way.pop(self._agent_id, None)
        finally:
            threads.settle()

    def _is_over(self, quiet: int) -> bool:
        """Decided under the lock, so that who comes later begins a hunt of its own."""
        with _lock:
            if quiet < QUIET_LOOKS or self.ordered.is_set():
                return False
            del _under_way[self._agent_id]
            return True

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


def _after_fork() -> None:
    """Of the threads only the one that forked is left, and no hunt."""
    global _lock
    _lock = threading.Lock()
    boundary._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does with its own
    _under_way.clear()
    for ident in set(working) - {threading.get_ident()}:
        del working[ident]
    bound.intersection_update({threading.get_ident()})


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
