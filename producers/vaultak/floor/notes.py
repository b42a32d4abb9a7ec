"""What the hook has judged already, noted in memory that the supervisor shares: so that nothing is on record twice.

A note only ever keeps a call that the policy allows off the record a second time. The governed process can forge
notes: the supervisor evaluates the policy all the same.
"""

from __future__ import annotations

import hashlib
import itertools
import mmap
import os
import struct
import threading
import time

from vaultak.wire import ActionType

SLOTS = 1024
FRESH_NS = 5_000_000_000
"""A note counts for so long: between judgement and system call lies the work of one Python call."""
_SLOT = struct.Struct("=QI4x8s8x")
_SIZE = SLOTS * _SLOT.size


def _digest(action_type: ActionType, resource: str) -> bytes:
    return hashlib.blake2b(f"{action_type}\0{resource}".encode("utf-8", "replace"), digest_size=8).digest()


class Notes:
    """The shared memory, for both sides. A note that is overwritten or torn is lost, nothing else."""

    def __init__(self, fd: int) -> None:
        self._memory = mmap.mmap(fd, _SIZE)
        self._next = itertools.count(os.getpid())

    @staticmethod
    def create() -> int:
        """A descriptor of fresh shared memory."""
        fd = os.memfd_create("vaultak-notes")
        os.ftruncate(fd, _SIZE)
        return fd

    def note(self, action_type: ActionType, *resources: str) -> None:
        """The calling thread is about to do what was allowed."""
        tid, now_ns = threading.get_native_id(), time.monotonic_ns()
        for resource in resources:
            at = next(self._next) % SLOTS * _SLOT.size
            _SLOT.pack_into(self._memory, at, now_ns, tid, _digest(action_type, resource))

    def has(self, action_type: ActionType, resource: str, tid: int) -> bool:
        """Whether thread `tid` noted this lately; of a program's start, whether any thread did."""
        digest = _digest(action_type, resource)
        oldest_ns = time.monotonic_ns() - FRESH_NS
        at = self._memory.find(digest)
        while at >= 0:
            start = at - at % _SLOT.size
            noted_ns, by, found = _SLOT.unpack_from(self._memory, start)
            if found == digest and noted_ns >= oldest_ns and (by == tid or action_type is ActionType.PROCESS_SPAWN):
                return True
            at = self._memory.find(digest, at + 1)
        return False
