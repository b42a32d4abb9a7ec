"""What an interceptor found out about one event, before anyone has judged it."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from vaultak.wire import ActionType

if TYPE_CHECKING:
    from vaultak.intercept.calls import Call
    from vaultak.undo import UndoLog


class Effect(NamedTuple):
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


class Occurrence(NamedTuple):
    """An audit event with its surroundings."""

    event: str
    args: tuple[Any, ...]
    frame: FrameType | None
    """The frame it belongs to; `None` at the bottom of a thread."""
    call: Call | None
    """The patched call it happened in; `None` when a patch was bypassed."""


Effects = tuple[Effect, ...]
Classifier = Callable[[Occurrence], Effects]
"""Turns an event into its effects; empty when it is none worth judging."""

NONE: Effects = ()
