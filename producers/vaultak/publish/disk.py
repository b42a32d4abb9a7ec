"""The disk that the spools of all processes may take together: the oldest orphans make room."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from vaultak.publish.spool import Spool

TOTAL_LIMIT_BYTES = 1024 * 1024 * 1024
"""Four full spools. What living processes hold is never dropped: each is bounded by itself."""

_BLOCK_BYTES = 512
_BATCH = 500


def make_room(root: Path, *, limit_bytes: int = TOTAL_LIMIT_BYTES) -> int:
    """Remove the oldest orphans until all queues together fit; returns how many undelivered events went with them."""
    with contextlib.suppress(OSError):
        sizes = {path: _size_bytes(path) for path in root.iterdir() if (path / "lock").exists()}
        excess = sum(sizes.values()) - limit_bytes
        if excess <= 0:
            return 0
        dropped = 0
        for directory in sorted(sizes, key=lambda path: path.stat().st_mtime):
            if excess <= 0:
                break
            with contextlib.suppress(OSError, ValueError):
                orphan = Spool(directory)
                dropped += _count(orphan)
                shutil.rmtree(directory, ignore_errors=True)
                orphan.abandon()
                excess -= sizes[directory]
        return dropped
    return 0


def _size_bytes(directory: Path) -> int:
    """What is reserved for it, written to or not."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        return sum(entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES for entry in entries)
    return 0


def _count(spool: Spool) -> int:
    """How many events are left in it; reads all of them."""
    events = 0
    while spool.pending_bytes:
        messages, position = spool.peek(_BATCH)
        spool.delivered(position)
        events += len(messages)
    return events
