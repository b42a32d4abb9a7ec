"""How much is kept for undo."""

from __future__ import annotations

import msgspec


class UndoLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Beyond the bytes a step is `unsupported`, with the reason; beyond the actions the oldest make room."""

    file_bytes: int = 64 * 1024 * 1024
    """A larger file that is about to be overwritten is not copied (deleting one costs no copy)."""
    total_bytes: int = 1024 * 1024 * 1024
    """Of copies, for one instance of an agent."""
    actions: int = 1000
    """Actions that can be taken back."""
