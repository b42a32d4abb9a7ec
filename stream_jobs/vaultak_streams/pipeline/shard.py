"""The state of one partition: every agent's profile and ledger, what changed, and how to take a failed step back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic

import msgspec

from vaultak.wire import Event
from vaultak_streams.pipeline.engine import P
from vaultak_streams.pipeline.ledger import Ledger
from vaultak_streams.pipeline.roster import Roster

STATE_VERSION = 1

DEFAULT_CAPACITY = 50_000
"""Agents per partition. Beyond it the one that has been silent longest is forgotten, and counted."""

JOURNAL_EVENTS = 4_000
"""Events that may have to be judged again to take a failed step back; then the profiles are saved anew."""


class CorruptStateError(ValueError):
    """Bytes of the changelog that are not a state this version can read."""


class _Saved(msgspec.Struct, array_like=True):
    """A value of the changelog."""

    version: int
    ledger: Ledger
    profile: bytes


class _Journal(msgspec.Struct):
    """A profile as it was, and the events it has learnt from since."""

    profile: bytes | None
    events: list[tuple[Event, int]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Saved)


class Shard(Generic[P]):
    """Everything the pipeline knows about the agents of one partition.

    Not thread-safe. `load_profile` is the inverse of a profile's `to_bytes`; it raises `ValueError` on bytes that
    are not a profile.
    """

    def __init__(self, partition: int, load_profile: Callable[[bytes], P], *, capacity: int = DEFAULT_CAPACITY) -> None:
        self.partition = partition
        self.profiles = Roster(load_profile)
        self.forgotten = 0
        self._load = load_profile
        self._capacity = capacity
        self._ledgers: dict[str, Ledger] = {}
        self._dirty: dict[str, None] = {}
        self._journals: dict[str, _Journal] = {}
        self._journalled = 0

    def __len__(self) -> int:
        return len(self._ledgers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ledgers)

    @property
    def dirty(self) -> int:
        """Agents whose state has changed since the last `drain`."""
        return len(self._dirty)

    def ledger(self, agent_id: str) -> Ledger:
        """An agent's ledger, made on first sight; the agent becomes the most recent one."""
        ledger = self._ledgers.pop(agent_id, None)
        if ledger is None:
            ledger = Ledger(incidents=[])
        self._ledgers[agent_id] = ledger
        return ledger

    def touch(self, agent_id: str) -> None:
        """Mark an agent as changed, so that the next `drain` saves it."""
        self._dirty[agent_id] = None

    def begin(self, agents: Iterable[str]) -> None:
        """Before a step: from here `restore` can take these agents' profiles back."""
        for agent_id in agents:
            if agent_id not in self._journals:
                self._journals[agent_id] = _Journal(self.profiles.saved(agent_id), [])

    def learnt(self, events: Iterable[tuple[Event, int]]) -> None:
        """After a step: what the profiles have learnt from."""
        for event in events:
            self._journals[event[0].agent_id].events.append(event)
            self._journalled += 1
        if self._journalled > JOURNAL_EVENTS:
            self._journals.clear()
            self._journalled = 0

    def restore(self, agent_id: str) -> list[tuple[Event, int]]:
        """Put an agent's profile back to where its journal began; returns the events to judge again from there."""
        journal = self._journals[agent_id]
        self.put_back(agent_id, journal.profile)
        return journal.events

    def save(self, agent_id: str) -> bytes | None:
        """A profile's bytes, for `put_back`."""
        return self.profiles.saved(agent_id)

    def put_back(self, agent_id: str, profile: bytes | None) -> None:
        if profile is None:
            self.profiles.pop(agent_id, None)
        else:
            self.profiles[agent_id] = self._load(profile)

    def drain(self) -> list[tuple[str, bytes | None]]:
        """What a changelog needs to bring this shard back: changed agents, and `None` for forgotten ones."""
        self._forget()
        saved = [(agent_id, self._saved(agent_id)) for agent_id in self._dirty]
        self._dirty.clear()
        return saved

    def _saved(self, agent_id: str) -> bytes | None:
        ledger = self._ledgers.get(agent_id)
        if ledger is None:
            return None
        return _encoder.encode(_Saved(STATE_VERSION, ledger, self.save(agent_id) or b""))

    def _forget(self) -> None:
        for agent_id in list(self._ledgers)[: max(0, len(self._ledgers) - self._capacity)]:
            del self._ledgers[agent_id]
            self.profiles.pop(agent_id, None)
            self._journals.pop(agent_id, None)
            self.touch(agent_id)
            self.forgotten += 1

    def load(self, agent_id: str, value: bytes | None) -> None:
        """Take in one entry of the changelog, in any order: the one that has seen most events wins.

        A worker that lost its partition and wrote on for a moment cannot bring an older state back. `None` forgets
        the agent. Raises `CorruptStateError`, and then nothing has changed.
        """
        if value is None:
            self._ledgers.pop(agent_id, None)
            self.profiles.pop(agent_id, None)
            return
        saved = self._decode(agent_id, value)
        known = self._ledgers.get(agent_id)
        if known is not None and known.applied_offset > saved.ledger.applied_offset:
            return
        self._ledgers.pop(agent_id, None)
        self._ledgers[agent_id] = saved.ledger
        if saved.profile:
            self.profiles.pack(agent_id, saved.profile)
        else:
            self.profiles.pop(agent_id, None)

    def rewind(self, end: int) -> int:
        """The partition ends at `end`: ledgers that claim to be past it belong to a topic that was since made anew.
        Their agents keep their profiles and count offsets from the beginning; returns how many."""
        beyond = [agent_id for agent_id, ledger in self._ledgers.items() if ledger.applied_offset >= end]
        for agent_id in beyond:
            self._ledgers[agent_id].applied_offset = -1
            self.touch(agent_id)
        return len(beyond)

    def _decode(self, agent_id: str, value: bytes) -> _Saved:
        try:
            saved = _decoder.decode(value)
            if saved.profile:
                self._load(saved.profile)
        except (msgspec.MsgspecError, ValueError, RecursionError) as e:
            raise CorruptStateError(f"state of `{agent_id[:80]}`: {e}") from None
        if saved.version != STATE_VERSION:
            raise CorruptStateError(f"state of `{agent_id[:80]}` has version {saved.version}, not {STATE_VERSION}")
        return saved
