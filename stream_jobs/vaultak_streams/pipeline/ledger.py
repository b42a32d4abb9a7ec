"""What the pipeline itself remembers of an agent, beside the engine's profile: small, bounded, serialisable."""

from __future__ import annotations

import msgspec

from vaultak.policy.rules import Tally
from vaultak_streams.pipeline.incidents import OpenIncident
from vaultak_streams.pipeline.sessions import SessionTraits

DIGEST_BYTES = 12
"""Of an event's bytes: two different events with one digest cannot be found by trying (2^48 for a pair)."""

SEEN_EVENTS = 256
"""How many events back an exact second delivery is noticed: more than a producer resends after a lost answer."""

_SEEN_BYTES = DIGEST_BYTES * SEEN_EVENTS

MINUTE_US = 60_000_000


class Ledger(msgspec.Struct, array_like=True, omit_defaults=True):
    """Offsets, duplicates, enforcement and incidents of one agent on one partition."""

    applied_offset: int = -1
    """The last record of this agent that has been judged: one delivered again is skipped."""
    epoch: int = 0
    """Of the last state command issued to this agent."""
    last_state_command: str = ""
    last_state_command_us: int = 0
    minute: int = 0
    actions_this_minute: int = 0
    actions_last_minute: int = 0
    seen: bytes = b""
    incidents: list[OpenIncident] = []
    sessions: list[SessionTraits] = []
    tally: Tally = msgspec.field(default_factory=Tally)
    """How often rules with a `rate` were met."""

    def first_sight(self, digest: bytes) -> bool:
        """Whether an event is new; remembers it. A second delivery of one of the last `SEEN_EVENTS` is not."""
        at = self.seen.find(digest)
        while at >= 0 and at % DIGEST_BYTES:
            at = self.seen.find(digest, at + 1)
        if at >= 0:
            return False
        self.seen = (self.seen + digest)[-_SEEN_BYTES:]
        return True

    def count_action(self, ts_us: int) -> float:
        """Actions in the minute that ends at `ts_us`, this one included.

        Two counters, the older weighted by how much of its minute is still in the window: the estimate that
        rate limiters use; exact for a steady rate. Late events count towards the current minute.
        """
        minute = ts_us // MINUTE_US
        if minute > self.minute:
            self.actions_last_minute = self.actions_this_minute if minute == self.minute + 1 else 0
            self.minute, self.actions_this_minute = minute, 0
        self.actions_this_minute += 1
        left = 1.0 - (ts_us % MINUTE_US) / MINUTE_US if minute == self.minute else 0.0
        return self.actions_this_minute + self.actions_last_minute * left

    def next_epoch(self, now_us: int) -> int:
        """Rises always, and past every command an operator gave before now."""
        self.epoch = max(self.epoch + 1, now_us)
        return self.epoch
