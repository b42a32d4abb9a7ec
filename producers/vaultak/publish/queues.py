"""What a queue of messages offers, and the one in memory for when there is no disk."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from vaultak.publish.frames import Message, read_frames
from vaultak.publish.spool import SpoolFullError

MEMORY_LIMIT_BYTES = 16 * 1024 * 1024


class Queue(Protocol):
    """Messages in order. `append` raises `SpoolFullError` or `OSError`."""

    def append(self, frame: bytes) -> None: ...

    @property
    def pending_bytes(self) -> int: ...

    def peek(self, limit: int) -> tuple[list[Message], tuple[int, int]]: ...

    def delivered(self, position: tuple[int, int]) -> None: ...

    def close(self) -> None: ...


class MemoryQueue:
    """Bounded, gone with the process."""

    def __init__(self, limit_bytes: int = MEMORY_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._frames: deque[bytes] = deque()
        self.pending_bytes = 0

    def append(self, frame: bytes) -> None:
        if self.pending_bytes + len(frame) > self._limit_bytes:
            raise SpoolFullError
        self._frames.append(frame)
        self.pending_bytes += len(frame)

    def peek(self, limit: int) -> tuple[list[Message], tuple[int, int]]:
        taken = min(limit, len(self._frames))
        decoded = (message for i in range(taken) for message, _ in read_frames(self._frames[i], 0))
        return [message for message in decoded if message is not None], (taken, 0)

    def delivered(self, position: tuple[int, int]) -> None:
        for _ in range(position[0]):
            self.pending_bytes -= len(self._frames.popleft())

    def close(self) -> None:
        self._frames.clear()
        self.pending_bytes = 0
