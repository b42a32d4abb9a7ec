"""What a rollback did, as outcomes of the actions that it took back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from vaultak.undo.steps import REVERSED, StepResult
from vaultak.wire import OutcomeStatus

UNKNOWN_SESSION = "unknown"
"""Journals do not say in which session of its agent an action ran; the action's id tells."""

MAX_ID_CHARS, MAX_ERROR_CHARS = 128, 2000


class Outcomes(Protocol):
    """Where outcomes go: the emitter of an agent."""

    def outcome(
        self, action_id: str, session_id: str, now_s: float, status: OutcomeStatus, *, error: str = ""
    ) -> str: ...


def record(steps: Iterable[StepResult], outcomes: Outcomes, now_s: float) -> int:
    """Emit one outcome for each action: `reversed`, or `error` that names the steps which were not. Their number.

    An id that no action can have (journals are files, anybody's who can write them) is left out.
    """
    by_action: dict[str, list[StepResult]] = {}
    for step in steps:
        by_action.setdefault(step.action_id, []).append(step)
    known = {action_id: own for action_id, own in by_action.items() if 0 < len(action_id) <= MAX_ID_CHARS}
    for action_id, own in known.items():
        failed = [step for step in own if step.status != REVERSED]
        outcomes.outcome(
            action_id,
            UNKNOWN_SESSION,
            now_s,
            OutcomeStatus.ERROR if failed else OutcomeStatus.REVERSED,
            error="; ".join(f"{s.status}: {s.target}: {s.detail}" for s in failed)[:MAX_ERROR_CHARS],
        )
    return len(known)
