"""What an interceptor found out about one event, before anyone has judged it."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from vaultak.wire import ActionType

if TYPE_CHECKING:
    from vaultak.intercept.calls import Call
    from vaultak.undo import UndoLog


class Effect(msgspec.Struct, frozen=True):
    """One effect on one resource, and how to keep what it will destroy."""

    action_type: ActionType
    resource: str
    payload: dict[str, Any]
    journal: Callable[[UndoLog, str], object] | None = None
    """Called with the undo log and the action's id once the action is allowed, ahead of the effect."""
    action_id: str = ""
    """Set when the effect is part of an action already judged: it is journaled under that id and not judged again."""
    allowed: Callable[[str], object] | None = None
    """Called with the action's id once it is allowed."""

    def but(self, **changes: Any) -> Self:
        """The same effect with other members."""
        return msgspec.structs.replace(self, **changes)


class Occurrence(msgspec.Struct, frozen=True):
    """An audit event with its surroundings."""

    event: str
    args: tuple[Any, ...]
    frame: FrameType | None
    """The frame it belongs to; `None` at the bottom of a thread."""
    call: Call | None
    """The patched call it happened in; `None` when a patch was bypassed."""

    def but(self, **changes: Any) -> Self:
        """The same event with other surroundings."""
        return msgspec.structs.replace(self, **changes)


Effects = tuple[Effect, ...]
Classifier = Callable[[Occurrence], Effects]
"""Turns an event into its effects; empty when it is none worth judging."""

NONE: Effects = ()
