"""What a session has done so far that rules ask about: what it read, and how much it did. Bounded."""

from __future__ import annotations

from typing import Any

import msgspec

from vaultak.wire import ActionType

MAX_SESSIONS = 16
"""Remembered of one agent; the one that rested longest is forgotten."""

PRIVATE = 0.6
"""From this sensitivity on, what is read is private."""
READING = 0.2
"""Up to this destructiveness, an action reads."""

_FROM_OUTSIDE = frozenset({ActionType.NETWORK_REQUEST, ActionType.API_CALL})


class SessionTraits(msgspec.Struct, array_like=True):
    """One session of an agent."""

    session_id: str
    actions: int = 0
    private_read: bool = False
    """It read something sensitive."""
    untrusted_read: bool = False
    """It read what others may have written: from the network, or through a tool that reads."""

    def note(self, action_type: ActionType, destructiveness: float, sensitivity: float) -> None:
        """Take an action in. To be called after it was judged: a rule asks about what came before."""
        self.actions += 1
        reads = destructiveness <= READING
        self.private_read = self.private_read or (reads and sensitivity >= PRIVATE)
        self.untrusted_read = (
            self.untrusted_read or action_type in _FROM_OUTSIDE or (reads and action_type is ActionType.TOOL_CALL)
        )

    def fields(self) -> dict[str, Any]:
        return {"actions": self.actions, "private_read": self.private_read, "untrusted_read": self.untrusted_read}


def session_of(sessions: list[SessionTraits], session_id: str) -> SessionTraits:
    """The session, moved to the end: the newest. Creates it."""
    for position, known in enumerate(sessions):
        if known.session_id == session_id:
            sessions.append(sessions.pop(position))
            return known
    sessions.append(SessionTraits(session_id))
    del sessions[:-MAX_SESSIONS]
    return sessions[-1]
