"""What this process knows of an agent's recent actions: bounded, for `audit_trail()`; all of it is in ClickHouse."""

from __future__ import annotations

import threading
from collections import OrderedDict

import msgspec

from vaultak.wire import Action, ActionType, Local, Outcome, OutcomeStatus


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An action with its local verdict and what came of it, as far as this process knows."""

    action_id: str
    session_id: str
    ts: str
    action_type: ActionType
    resource: str
    decision: str
    risk: float
    reasons: tuple[str, ...]
    status: OutcomeStatus | None = None
    duration_ms: float | None = None
    error: str = ""


class AuditTrail:
    """The last actions, oldest first. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.RLock()
        self._actions: OrderedDict[str, tuple[Action, Outcome | None]] = OrderedDict()

    def action(self, action: Action) -> None:
        with self._lock:
            self._actions[action.action_id] = (action, None)
            if len(self._actions) > self._limit:
                self._actions.popitem(last=False)

    def outcome(self, outcome: Outcome) -> None:
        with self._lock:
            if known := self._actions.get(outcome.action_id):
                self._actions[outcome.action_id] = (known[0], outcome)

    def session_of(self, action_id: str) -> str | None:
        known = self._actions.get(action_id)
        return known[0].session_id if known else None

    def entries(self, session_id: str | None = None) -> list[AuditEntry]:
        with self._lock:
            known = list(self._actions.values())
        return [_entry(action, outcome) for action, outcome in known if session_id in (None, action.session_id)]


def _entry(action: Action, outcome: Outcome | None) -> AuditEntry:
    local = action.local if isinstance(action.local, Local) else Local(decision="allow")
    duration = outcome.duration_ms if outcome else None
    return AuditEntry(
        action_id=action.action_id,
        session_id=action.session_id,
        ts=action.ts,
        action_type=action.action_type,
        resource=action.resource,
        decision=local.decision,
        risk=local.risk,
        reasons=local.reasons,
        status=outcome.status if outcome else None,
        duration_ms=duration if isinstance(duration, float | int) else None,
        error=outcome.error if outcome else "",
    )
