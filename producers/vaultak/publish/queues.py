"""What a queue of messages offers, and the one in memory for when there is no disk."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from vaultak.publish.frames import Message, decode_body
from vaultak.publish.spool import SpoolFullError

MEMORY_LIMIT_BYTES = 16 * 1024 * 1024


class Queue(Protocol):
    """Messages in order. `append` raises `SpoolFullError` or `OSError`. `corrupt`: stretches that could not be read."""

    corrupt: int

    def append(self, body: bytes) -> None: ...

    @property
    def pending_bytes(self) -> int: ...

    def peek(self, limit: int) -> tuple[list[Message], tuple[int, int]]: ...

    def delivered(self, position: tuple[int, int]) -> None: ...

    def close(self) -> None: ...


class MemoryQueue:
    """Bounded, gone with the process."""

    def __init__(self, limit_bytes: int = MEMORY_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._bodies: deque[bytes] = deque()
        self.pending_bytes = self.corrupt = 0

    def append(self, body: bytes) -> None:
        if self.pending_bytes + len(body) > self._limit_bytes:
            raise SpoolFullError
        self._bodies.append(body)
        self.pending_bytes += len(body)

    def peek(self, limit: int) -> tuple[list[Message], tuple[int, int]]:
        taken = min(limit, len(self._bodies))
        decoded = [decode_body(self._bodies[i]) for i in range(taken)]
        return [message for message in decoded if message is not None], (taken, 0)

    def delivered(self, position: tuple[int, int]) -> None:
        for _ in range(position[0]):
            self.pending_bytes -= len(self._bodies.popleft())

    def close(self) -> None:
        self._bodies.clear()
        self.pending_bytes = 0
