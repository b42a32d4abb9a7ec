"""A small deterministic engine for tests of the pipeline: its risk depends on everything the agent did before."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

import msgspec

from vaultak.wire import Action, Contribution, Event, Factors


class TinyAssessment(msgspec.Struct, frozen=True):
    risk: float
    factors: Factors
    explanation: tuple[Contribution, ...]
    baseline_events: int
    model_version: str
    resource_count: int | None = None


class TinyProfile(msgspec.Struct):
    events: int = 0
    state: int = 0

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> TinyProfile:
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.MsgspecError as e:
            raise ValueError(str(e)) from None


class PoisonError(Exception):
    """What the engine does on an event that it cannot take."""


class TinyEngine:
    """Risk from a running hash of the agent's events; `payload.risk` sets it, `payload.poison` makes it fail.

    It fails as badly as an engine can: in the middle of a batch, with profiles half changed.
    """

    version = "tiny-1"

    def judge(
        self, events: Sequence[tuple[Event, int]], profiles: MutableMapping[str, TinyProfile]
    ) -> list[TinyAssessment | None]:
        return [self._judge(event, ts_us, profiles) for event, ts_us in events]

    def _judge(self, event: Event, ts_us: int, profiles: MutableMapping[str, TinyProfile]) -> TinyAssessment | None:
        profile = profiles.setdefault(event.agent_id, TinyProfile())
        text = repr((event.session_id, getattr(event, "action_id", ""), ts_us, profile.state))
        profile.events += 1
        profile.state = sum((n + 1) * ord(char) for n, char in enumerate(text)) % 1_000_003
        if not isinstance(event, Action):
            return None
        if event.payload.get("poison"):
            raise PoisonError("this event cannot be judged")
        risk = event.payload.get("risk", (profile.state % 1000) / 1000)
        return TinyAssessment(risk, Factors(behaviour=risk), (), profile.events - 1, self.version)
