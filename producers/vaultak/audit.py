"""What this process knows of an agent's recent actions: bounded, for `audit_trail()`; all of it is in ClickHouse."""

from __future__ import annotations

import threading

import msgspec

from vaultak.wire import ActionType, Local, OutcomeStatus


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


Recorded = tuple[str, str, str, ActionType, str, Local]
"""Action id, session id, time, type, resource, local verdict."""
_Ended = tuple[OutcomeStatus, float | None, str]


_SPARE = 16
"""How many more than the limit are kept before the oldest go, that many at once."""


class AuditTrail:
    """The last actions, oldest first. Thread-safe; recording costs a dictionary entry."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._most = limit + _SPARE
        self._actions: dict[str, Recorded] = {}
        self._outcomes: dict[str, _Ended] = {}
        self.make_lock()

    def make_lock(self) -> None:
        self._lock = threading.RLock()

    def action(self, recorded: Recorded) -> None:
        self._actions[recorded[0]] = recorded
        if len(self._actions) > self._most:
            self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            known = list(self._actions)  # in one step of the interpreter: others record meanwhile
            for action_id in known[: max(0, len(known) - self._limit)]:
                del self._actions[action_id]
                self._outcomes.pop(action_id, None)
            if len(self._outcomes) > self._most:  # of actions that went while their outcome came
                for action_id in [known for known in list(self._outcomes) if known not in self._actions]:
                    self._outcomes.pop(action_id, None)

    def outcome(self, action_id: str, status: OutcomeStatus, duration_ms: float | None, error: str) -> None:
        if action_id in self._actions:
            self._outcomes[action_id] = (status, duration_ms, error)

    def knows(self, action_id: str) -> bool:
        return action_id in self._actions

    def session_of(self, action_id: str) -> str | None:
        known = self._actions.get(action_id)
        return known[1] if known else None

    def since(self, action_id: str) -> list[str] | None:
        """This action and those after it, oldest first; `None` when it is not known (any more)."""
        known = list(self._actions)
        return known[known.index(action_id) :] if action_id in known else None

    def entries(self, session_id: str | None = None) -> list[AuditEntry]:
        known = list(self._actions.values())[-self._limit or len(self._actions) :]
        return [_entry(action, self._outcomes.get(action[0])) for action in known if session_id in (None, action[1])]


def _entry(recorded: Recorded, ended: _Ended | None) -> AuditEntry:
    action_id, session_id, ts, action_type, resource, local = recorded
    status, duration_ms, error = ended or (None, None, "")
    return AuditEntry(
        action_id=action_id,
        session_id=session_id,
        ts=ts,
        action_type=action_type,
        resource=resource,
        decision=local.decision,
        risk=local.risk,
        reasons=local.reasons,
        status=status,
        duration_ms=duration_ms,
        error=error,
    )
