"""The seam between those who see actions (interceptors, integrations) and those who judge them (monitors).

An interceptor asks `current()` who governs the running code, calls `before` ahead of the effect and `after` when it
is over. It knows nothing of policies, queues or Kafka.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import Context, ContextVar, Token
from typing import TYPE_CHECKING, Any, Protocol

from vaultak.wire import ActionType, OutcomeStatus

if TYPE_CHECKING:
    from vaultak.undo import UndoLog


class Governor(Protocol):
    """Judges the actions of one agent. Thread-safe."""

    @property
    def agent_id(self) -> str: ...

    @property
    def intercepted(self) -> bool:
        """Whether interceptors ask; `False` when only explicit actions are judged."""
        ...

    @property
    def undo(self) -> UndoLog | None:
        """Where pre-images and compensations of this agent's actions go; `None` when nothing is to be undone."""
        ...

    def before(
        self,
        action_type: ActionType,
        resource: str,
        payload: dict[str, Any],
        *,
        assurance: str = "",
    ) -> str:
        """Judge and record an action that is about to run; returns its `action_id`.

        Blocks while the agent is paused. Raises `ActionBlockedError`, `AgentPausedError` or `AgentKilledError`
        when the action must not run; the denial is on record by then.
        """
        ...

    async def before_async(
        self, action_type: ActionType, resource: str, payload: dict[str, Any], *, assurance: str = ""
    ) -> str:
        """As `before`, but a pause awaits and leaves the event loop free."""
        ...

    def after(
        self,
        action_id: str,
        status: OutcomeStatus,
        *,
        content: str = "",
        error: str = "",
        duration_ms: float | None = None,
    ) -> None:
        """Record what came of an action. Never raises."""
        ...


_state = globals()
"""What is kept when the module is reloaded: an agent that does so stays governed."""

_UNSET: Any = _state.setdefault("_UNSET", object())
"""The context says nothing: it was made empty, or nobody has activated anything in it."""

working: dict[int, Governor | None] = _state.setdefault("working", {})
"""Whom each thread works for, by its identity: what synchronous monitors and bound tasks say. For a kill."""

bound: set[int] = _state.setdefault("bound", set())
"""Threads that do so because work was handed to them, not because a monitor was entered there."""

boundary = threading.RLock()
"""Held while a thread that works for a killed agent is looked at, and while one leaves it."""

killed: set[str] = _state.setdefault("killed", set())
"""Agents that were killed in this process."""

_current: ContextVar[Governor | None] = _state.setdefault("_current", ContextVar("vaultak_governor", default=_UNSET))
Activation = Token[Governor | None]


class _Held(threading.local):
    """What a thread is inside of, whatever context runs on it."""

    def __init__(self) -> None:
        self.stack: list[tuple[Activation, Governor | None, bool]] = []
        self.top: Governor | None = None


_held: _Held = _state.setdefault("_held", _Held())
_NOBODY: Any = (None, None, False)
_get = _current.get


def current() -> Governor | None:
    """Who governs the running thread or task; `None` outside every monitor.

    The context decides. Where it says nothing, the thread does: inside a synchronous `with` all that runs on the
    thread is inside, also what runs in a fresh `contextvars.Context()`.
    """
    governor = _get()
    return _held.top if governor is _UNSET else governor


def _by_thread() -> Governor | None:
    return _held.top


governed_by: tuple[ContextVar[Governor | None], object, Callable[[], Governor | None]] = (_current, _UNSET, _by_thread)
"""How the compiled core finds out: the variable, its value where the context says nothing, and whom to ask then."""


def activate(governor: Governor | None, *, hunted: bool = True) -> Activation:
    """Put the running thread or task under a governor, or under none, until `deactivate` gets the token.

    `hunted`: whether a kill of the agent ends the thread; never where only explicit actions are judged.
    """
    hunted = hunted and governor is not None and governor.intercepted
    token = _current.set(governor)
    # On a thread that runs an event loop other tasks take turns: there the context alone decides.
    if _running_loop() is not None:
        _entered(governor)
    else:
        _held.stack.append((token, governor, hunted))
        _held.top = governor
        _note(threading.get_ident(), governor if hunted else None)
    return token


def entering(inner: Governor) -> None:
    """A monitor is opened: inside another one that is an action of the outer agent, as the inner one alone judges then.

    Raises what the outer governor raises.
    """
    outer = current()
    if outer is None or not outer.intercepted:
        return
    payload = {"op": "monitor", "agent_id": inner.agent_id}
    action_id = outer.before(ActionType.CODE_EXECUTION, "code:vaultak.monitor", payload, assurance="patch")
    outer.after(action_id, OutcomeStatus.OK)


def deactivate(token: Activation) -> None:
    """Undo one `activate`, in the same context. Raises `ValueError` in another one."""
    _current.reset(token)
    if _running_loop() is not None:
        _entered(current())
    stack = _held.stack
    for position in range(len(stack) - 1, -1, -1):
        if stack[position][0] is token:
            del stack[position]
            _, _held.top, hunted = stack[-1] if stack else _NOBODY
            _works_for(_held.top if hunted else None)
            break


def _works_for(governor: Governor | None) -> None:
    """From now on the thread works for somebody else; what was raised in it for a killed agent does not arrive."""
    ident = threading.get_ident()
    before = working.get(ident)
    if before is None or before.agent_id not in killed:
        _note(ident, governor)
        return
    from vaultak.ending.threads import forgive

    with boundary:
        _note(ident, governor)
        forgive()


def _note(ident: int, governor: Governor | None) -> None:
    if governor is None:
        working.pop(ident, None)
    else:
        working[ident] = governor


def _entered(governor: Governor | None) -> None:
    from vaultak.ending import tasks

    tasks.entered(governor)


def governor_in(context: Context) -> Governor | None:
    """Who governs what runs in a context."""
    governor = context.get(_current, None)
    return None if governor is _UNSET else governor


def _running_loop() -> object | None:
    events = sys.modules.get("asyncio.events")
    return events._get_running_loop() if events is not None else None
