"""What undo says of each step."""

from __future__ import annotations

import msgspec

REVERSED = "reversed"
UNSUPPORTED = "unsupported"
CONFLICT = "conflict"


class StepPreview(msgspec.Struct, frozen=True, kw_only=True):
    """One step that a rollback would take, newest first."""

    action_id: str
    target: str
    what: str
    """In words: `restore content`, `remove what was created` ..."""
    expected: str = REVERSED
    """How it would end, as far as can be seen without doing it: `reversed`, `unsupported` or `conflict`."""
    detail: str = ""


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one step: `reversed`, `unsupported`, or `conflict` (changed since by someone else: untouched)."""

    action_id: str
    target: str
    status: str
    detail: str = ""
