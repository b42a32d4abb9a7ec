"""Profiles by agent: the busy ones as objects, the others as the compressed bytes that they are saved as."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, MutableMapping
from typing import Generic, TypeVar, overload

from vaultak_streams.pipeline.engine import P

D = TypeVar("D")

DEFAULT_LIVE = 1_024
"""Profiles kept as objects, of 20 to 100 KiB each. More agents than this in turn cost about 0.2 ms at each turn."""
_LEVEL = 1


class Roster(MutableMapping[str, P], Generic[P]):
    """A mapping that takes 5 KiB for an agent that has been silent for a while.

    Neither order nor what a profile holds depends on which of them are packed. A profile that was taken from here is
    a copy as soon as `live` others have been asked for: do not hold on to it. Not thread-safe.
    """

    def __init__(self, load: Callable[[bytes], P], *, live: int = DEFAULT_LIVE) -> None:
        self._load = load
        self._limit = live
        self._live: dict[str, P] = {}
        self._packed: dict[str, bytes] = {}

    def __getitem__(self, agent_id: str) -> P:
        profile = self._live.pop(agent_id, None)
        if profile is None:
            profile = self._load(zlib.decompress(self._packed.pop(agent_id)))
        self._put(agent_id, profile)
        return profile

    @overload
    def get(self, agent_id: str, /) -> P | None: ...
    @overload
    def get(self, agent_id: str, default: P | D, /) -> P | D: ...
    def get(self, agent_id: str, default: P | D | None = None, /) -> P | D | None:
        profile = self._live.pop(agent_id, None)
        if profile is not None:
            self._live[agent_id] = profile
            return profile
        return self[agent_id] if agent_id in self._packed else default

    def __setitem__(self, agent_id: str, profile: P) -> None:
        self._packed.pop(agent_id, None)
        self._live.pop(agent_id, None)
        self._put(agent_id, profile)

    def __delitem__(self, agent_id: str) -> None:
        if self._live.pop(agent_id, None) is None:
            del self._packed[agent_id]

    def __iter__(self) -> Iterator[str]:
        yield from self._packed
        yield from self._live

    def __len__(self) -> int:
        return len(self._live) + len(self._packed)

    def __contains__(self, agent_id: object) -> bool:
        return agent_id in self._live or agent_id in self._packed

    @property
    def live(self) -> int:
        """Profiles that are objects now."""
        return len(self._live)

    def saved(self, agent_id: str) -> bytes | None:
        """The bytes of a profile, as its `to_bytes` gives them; `None` for an agent without one."""
        packed = self._packed.get(agent_id)
        if packed is not None:
            return zlib.decompress(packed)
        profile = self._live.get(agent_id)
        return None if profile is None else profile.to_bytes()

    def pack(self, agent_id: str, saved: bytes) -> None:
        """Take in a profile by bytes that `load` has accepted, without making it an object."""
        self._live.pop(agent_id, None)
        self._packed[agent_id] = zlib.compress(saved, _LEVEL)

    def _put(self, agent_id: str, profile: P) -> None:
        self._live[agent_id] = profile
        while len(self._live) > self._limit:
            silent = next(iter(self._live))
            self._packed[silent] = zlib.compress(self._live.pop(silent).to_bytes(), _LEVEL)
