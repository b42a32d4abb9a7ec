"""The profile of one agent: its baseline and its open sessions. Bounded; its bytes lose nothing."""

from __future__ import annotations

import enum
import math
from typing import Annotated

import msgspec

from vaultak_models.baseline import tally
from vaultak_models.baseline.habit import Following, Habit
from vaultak_models.baseline.moments import Moments, Time
from vaultak_models.baseline.rates import Rates
from vaultak_models.baseline.tally import Count
from vaultak_models.provenance.known import WIDTH
from vaultak_models.provenance.tracer import Tracer
from vaultak_models.sighting import Sighting
from vaultak_models.target import whole

PROFILE_VERSION = 2
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


WAIT_US = (0, _HOUR_US, 7 * 24 * _HOUR_US)
"""A burst of odd actions does not become ordinary while it goes on; what would have been stopped, not for a week."""
FAILURE_WEIGHT = 0.1
"""The share of failures is about that of the last ten actions."""
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
MAX_BYTES = 128 * 1024


class Waiting(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An action that is not learnt yet, and the kind of the one before it."""

    due_us: Time
    packed: bytes
    """The rest: a fifth of what it takes as objects."""

    @classmethod
    def pack(cls, seen: Sighting, after: str, due_us: int) -> Waiting:
        return cls(due_us, _encode((seen, after)))

    def unpack(self) -> tuple[Sighting, str]:
        return _waiting_decoder.decode(self.packed)


class AgentProfile(msgspec.Struct, array_like=True):
    """What is known of one agent."""

    version: int = 0
    """Set when it is saved: bytes that say nothing of their version are no profile."""
    events: Count = 0
    """Actions learnt from."""
    last_ts_us: Time = 0
    last_kind: str = ""
    habits: dict[str, Habit] = {}
    """By kind of action."""
    members: Count = 0
    """Names of payload members kept, over all habits."""
    following: dict[str, Following] = {}
    """By the kind of the action before."""
    transitions: Count = 0
    """Kept in `following`."""
    resources: dict[int, Count] = {}
    groups: tally.Tally = {}
    hours: list[Count] = msgspec.field(default_factory=lambda: [0] * 24)
    new_resources: Moments = msgspec.field(default_factory=Moments)
    new_groups: Moments = msgspec.field(default_factory=Moments)
    any_size: Moments = msgspec.field(default_factory=Moments)
    destructiveness: Moments = msgspec.field(default_factory=Moments)
    sensitivity: Moments = msgspec.field(default_factory=Moments)
    failures: Moments = msgspec.field(default_factory=Moments)
    recent_failures: Share = 0.0
    rates: Rates = msgspec.field(default_factory=Rates)
    waiting: list[Waiting] = []
    """Odd actions, oldest first: learnt when they are due."""
    due_us: Time = 0
    """When the next of them is."""
    odd_sessions: list[str] = []

    tracer: Tracer = msgspec.field(default_factory=Tracer)
    first_us: Time = 0
    """When its first action was; 0 in profiles saved before this was kept."""

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
        last = self.last_ts_us
        if ts_us > last:
            if last:
                self.rates.decay((ts_us - last) / 1e6)
            else:
                self.first_us = ts_us
            self.last_ts_us = ts_us
        if self.waiting and ts_us >= self.due_us:
            due = [waiting for waiting in self.waiting if ts_us >= waiting.due_us]
            self.waiting = [waiting for waiting in self.waiting if ts_us < waiting.due_us]
            self.due_us = min((waiting.due_us for waiting in self.waiting), default=0)
            for waiting in due:
                self._learn(*waiting.unpack())

    def take_in(self, seen: Sighting, session_id: str, oddness: Oddness) -> None:
        """An action happened: learn it, or later when it was odd, or another of its session was."""
        self.rates.add()
        if oddness:
            session_id = whole(session_id)
            self.odd_sessions = [*(s for s in self.odd_sessions if s != session_id), session_id][-MAX_ODD_SESSIONS:]
            self._wait(seen, oddness)
        elif self.odd_sessions and whole(session_id) in self.odd_sessions:
            self._wait(seen, Oddness.SOME)
        else:
            self._learn(seen, self.last_kind)
            self.rates.learn(seen.ts_us)
            self.failures.add(self.recent_failures)
        self.last_kind = seen.kind
        self.recent_failures *= 1.0 - FAILURE_WEIGHT

    def fail(self) -> None:
        """The outcome of an action was a failure."""
        self.recent_failures = min(1.0, self.recent_failures + FAILURE_WEIGHT)

    def _wait(self, seen: Sighting, oddness: Oddness) -> None:
        waiting = Waiting.pack(
            msgspec.structs.replace(seen, resource=""), self.last_kind, seen.ts_us + WAIT_US[oddness]
        )
        self.waiting.append(waiting)
        if len(self.waiting) > MAX_WAITING and self.waiting.pop(0).due_us <= self.due_us:
            self.due_us = min([waiting.due_us for waiting in self.waiting])
        if len(self.waiting) == 1 or waiting.due_us < self.due_us:
            self.due_us = waiting.due_us

    def _learn(self, seen: Sighting, after: str) -> None:
        self.events += 1
        self.new_resources.add(float(seen.resource_id not in self.resources))
        self.new_groups.add(float(seen.group not in self.groups))
        tally.add(self.resources, seen.resource_id, MAX_RESOURCES)
        tally.add(self.groups, seen.group, MAX_GROUPS)
        if after:
            self._follow(after, seen.kind)
        self.hours[seen.hour] += 1
        habit = self.habits.get(seen.kind)
        if habit is None:
            habit = self._new_habit(seen.kind)
        self._practise(habit, seen)
        self.any_size.add(seen.log_size)
        self.destructiveness.add(seen.destructiveness)
        self.sensitivity.add(seen.sensitivity)

    def _new_habit(self, kind: str) -> Habit:
        if len(self.habits) >= MAX_KINDS:
            habits = self.habits
            for rare in sorted(habits, key=lambda name: (habits[name].times, name))[: MAX_KINDS // 8]:
                gone = habits.pop(rare)
                self.members -= len(gone.fields)
        habit = self.habits[kind] = Habit()
        return habit

    def _practise(self, habit: Habit, seen: Sighting) -> None:
        habit.times += 1
        habit.sizes.add(seen.log_size)
        habit.repeats.add(math.log1p(seen.repeats))
        fields = habit.fields
        for name in seen.fields:
            if name in fields:
                fields[name] += 1
            else:
                if self.members >= MAX_FIELDS:
                    self._forget_members()
                fields[name] = 1
                self.members += 1
        for name in seen.unmentioned:
            if name in fields:
                habit.unmentioned[name] = habit.unmentioned.get(name, 0) + 1

    def _forget_members(self) -> None:
        """The least seen eighth makes room."""
        kept = [(times, kind, name) for kind, habit in self.habits.items() for name, times in habit.fields.items()]
        for _, kind, name in sorted(kept)[: MAX_FIELDS // 8]:
            del self.habits[kind].fields[name]
            self.habits[kind].unmentioned.pop(name, None)
            self.members -= 1

    def _follow(self, after: str, kind: str) -> None:
        following = self.following.get(after)
        if following is None or kind not in following.kinds:
            if self.transitions >= MAX_TRANSITIONS:
                self._forget_transitions()
            following = self.following.setdefault(after, Following())
            self.transitions += 1
            following.kinds[kind] = 0
        following.kinds[kind] += 1
        following.total += 1

    def _forget_transitions(self) -> None:
        """The least seen eighth makes room."""
        kept = [(times, after, kind) for after, f in self.following.items() for kind, times in f.kinds.items()]
        for times, after, kind in sorted(kept)[: MAX_TRANSITIONS // 8]:
            following = self.following[after]
            del following.kinds[kind]
            following.total -= times
            self.transitions -= 1
            if not following.kinds:
                del self.following[after]

    def _adds_up(self) -> bool:
        following = self.following.values()
        return (
            self.members == sum(len(habit.fields) for habit in self.habits.values())
            and self.transitions == sum(len(after.kinds) for after in following)
            and all(after.total == sum(after.kinds.values()) for after in following)
        )

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
            for waiting in profile.waiting:
                waiting.unpack()
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
            raise ValueError(f"not a profile: {e}") from None
        if profile.version != PROFILE_VERSION or len(profile.hours) != 24 or len(profile.tracer.known.places) % WIDTH:
            raise ValueError(f"a profile of version {profile.version}, not {PROFILE_VERSION}")
        if not profile._adds_up():
            raise ValueError("a profile whose totals are not those of its parts")
        return profile


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(AgentProfile)
_waiting_decoder = msgspec.msgpack.Decoder(tuple[Sighting, str])
