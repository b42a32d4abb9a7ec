"""The seam between those who see actions (interceptors, integrations) and those who judge them (monitors).

An interceptor asks `current()` who governs the running code, calls `before` ahead of the effect and `after` when it
is over. It knows nothing of policies, queues or Kafka.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from vaultak.wire import ActionType, OutcomeStatus

if TYPE_CHECKING:
    from vaultak.undo import UndoLog


class Governor(Protocol):
    """Judges the actions of one agent. Thread-safe."""

    @property
    def agent_id(self) -> str: ...

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


_current: ContextVar[Governor | None] = ContextVar("vaultak_governor", default=None)


def current() -> Governor | None:
    """Who governs the running thread or task; `None` outside every monitor."""
    return _current.get()


activate = _current.set
deactivate = _current.reset
