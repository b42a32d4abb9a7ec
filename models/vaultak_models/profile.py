"""The profile of one agent: its baseline and its open sessions. Bounded; its bytes lose nothing."""

from __future__ import annotations

import enum
import math

import msgspec

from vaultak_models.baseline import tally
from vaultak_models.baseline.moments import Moments
from vaultak_models.baseline.rates import HORIZONS_S, Rate
from vaultak_models.provenance.tracer import Tracer
from vaultak_models.sighting import Sighting

PROFILE_VERSION = 1
READY_AFTER = 30
"""Actions until a baseline says anything: below it every action would be a surprise."""

MATURE_AFTER = 300

MAX_KINDS = 64
MAX_TRANSITIONS = 160
MAX_RESOURCES = 384
MAX_GROUPS = 64
MAX_FIELDS = 160
MAX_WAITING = 32
MAX_ODD_SESSIONS = 4
_HOUR_US = 3_600_000_000


class Oddness(enum.IntEnum):
    """How much an action stands out, and so how long it is kept out of the baseline."""

    NONE = 0
    SOME = 1
    MUCH = 2


WAIT_US = {Oddness.SOME: _HOUR_US, Oddness.MUCH: 7 * 24 * _HOUR_US}
"""A burst of odd actions does not become ordinary while it goes on; what would have been stopped, not for a week."""
FAILURE_WEIGHT = 0.1
"""The share of failures is about that of the last ten actions."""
LARGEST = 1e18
"""Beyond any count, size or time in microseconds."""
MAX_BYTES = 128 * 1024


class Waiting(msgspec.Struct, array_like=True, frozen=True):
    """An action that is not learnt yet, and the kind of the one before it."""

    seen: Sighting
    after: str
    due_us: int


class AgentProfile(msgspec.Struct):
    """What is known of one agent."""

    version: int = 0
    """Set when it is saved: bytes that say nothing of their version are no profile."""
    events: int = 0
    """Actions learnt from."""
    last_ts_us: int = 0
    last_kind: str = ""
    kinds: tally.Tally = {}
    transitions: tally.Tally = {}
    resources: tally.Tally = {}
    groups: tally.Tally = {}
    fields: tally.Tally = {}
    unmentioned: tally.Tally = {}
    """Of `fields`: how often with a value that nobody named before."""
    hours: tally.Tally = {}
    new_resources: Moments = msgspec.field(default_factory=Moments)
    new_groups: Moments = msgspec.field(default_factory=Moments)
    sizes: dict[str, Moments] = {}
    any_size: Moments = msgspec.field(default_factory=Moments)
    repeats: dict[str, Moments] = {}
    destructiveness: Moments = msgspec.field(default_factory=Moments)
    sensitivity: Moments = msgspec.field(default_factory=Moments)
    failures: Moments = msgspec.field(default_factory=Moments)
    recent_failures: float = 0.0
    rates: list[Rate] = msgspec.field(default_factory=lambda: [Rate() for _ in HORIZONS_S])
    waiting: list[Waiting] = []
    """Odd actions, oldest first: learnt when they are due."""
    odd_sessions: list[str] = []

    tracer: Tracer = msgspec.field(default_factory=Tracer)

    @property
    def ready(self) -> bool:
        """Whether there is enough to compare with."""
        return self.events >= READY_AFTER

    @property
    def mature(self) -> bool:
        """Whether what is still new to it is likely to be wrong rather than early."""
        return self.events >= MATURE_AFTER

    def advance(self, ts_us: int) -> None:
        """Let time pass up to an action."""
        if self.last_ts_us:
            for rate, horizon_s in zip(self.rates, HORIZONS_S, strict=True):
                rate.decay((ts_us - self.last_ts_us) / 1e6, horizon_s)
        self.last_ts_us = max(ts_us, self.last_ts_us)
        if self.waiting and ts_us >= min(waiting.due_us for waiting in self.waiting):
            due = [waiting for waiting in self.waiting if ts_us >= waiting.due_us]
            self.waiting = [waiting for waiting in self.waiting if ts_us < waiting.due_us]
            for waiting in due:
                self._learn(waiting.seen, waiting.after)

    def take_in(self, seen: Sighting, session_id: str, oddness: Oddness) -> None:
        """An action happened: learn it, or later when it was odd, or another of its session was."""
        for rate in self.rates:
            rate.add()
        if oddness is not Oddness.NONE:
            self.odd_sessions = [*(s for s in self.odd_sessions if s != session_id), session_id][-MAX_ODD_SESSIONS:]
        elif session_id in self.odd_sessions:
            oddness = Oddness.SOME
        if oddness is Oddness.NONE:
            self._learn(seen, self.last_kind)
            for rate, horizon_s in zip(self.rates, HORIZONS_S, strict=True):
                rate.learn(seen.ts_us, horizon_s)
            self.failures.add(self.recent_failures)
        else:
            self.waiting.append(
                Waiting(msgspec.structs.replace(seen, resource=""), self.last_kind, seen.ts_us + WAIT_US[oddness])
            )
            del self.waiting[:-MAX_WAITING]
        self.last_kind = seen.kind
        self.recent_failures *= 1.0 - FAILURE_WEIGHT

    def fail(self) -> None:
        """The outcome of an action was a failure."""
        self.recent_failures = min(1.0, self.recent_failures + FAILURE_WEIGHT)

    def _learn(self, seen: Sighting, after: str) -> None:
        self.events += 1
        self.new_resources.add(float(seen.resource_id not in self.resources))
        self.new_groups.add(float(seen.group not in self.groups))
        tally.add(self.kinds, seen.kind, MAX_KINDS)
        if after:
            tally.add(self.transitions, f"{after} > {seen.kind}", MAX_TRANSITIONS)
        tally.add(self.resources, seen.resource_id, MAX_RESOURCES)
        tally.add(self.groups, seen.group, MAX_GROUPS)
        tally.add(self.hours, str(seen.hour), 24)
        for name in seen.fields:
            tally.add(self.fields, f"{seen.kind} {name}", MAX_FIELDS)
        for name in seen.unmentioned:
            tally.add(self.unmentioned, f"{seen.kind} {name}", MAX_FIELDS)
        self._moments(self.sizes, seen.kind).add(seen.log_size)
        self.any_size.add(seen.log_size)
        self._moments(self.repeats, seen.kind).add(math.log1p(seen.repeats))
        self.destructiveness.add(seen.destructiveness)
        self.sensitivity.add(seen.sensitivity)

    def _moments(self, of: dict[str, Moments], kind: str) -> Moments:
        if kind not in of:
            if len(of) >= MAX_KINDS:
                del of[min(of, key=lambda known: (of[known].n, known))]
            of[kind] = Moments()
        return of[kind]

    def to_bytes(self) -> bytes:
        self.version = PROFILE_VERSION
        return _encode(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> AgentProfile:
        """The inverse of `to_bytes`. Raises `ValueError` for bytes that are not a profile of this version."""
        if len(data) > MAX_BYTES:
            raise ValueError(f"a profile of {len(data)} bytes")
        try:
            profile = _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
            raise ValueError(f"not a profile: {e}") from None
        if profile.version != PROFILE_VERSION or len(profile.rates) != len(HORIZONS_S):
            raise ValueError(f"a profile of version {profile.version}, not {PROFILE_VERSION}")
        _check(msgspec.to_builtins(profile))
        return profile


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(AgentProfile)


def _check(value: object) -> None:
    """Raises `ValueError` for numbers that no profile comes to: they would spread to every figure."""
    if isinstance(value, dict):
        _check(list(value))
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            _check(item)
    elif isinstance(value, int | float) and not -LARGEST < value < LARGEST:
        raise ValueError(f"a profile with the number {value!r}"[:80])
