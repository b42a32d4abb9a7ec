"""How often conditions of rules were met lately: exact sliding windows, bounded, serialisable.

Of each group (a rule and the values of the fields that it counts `by`) the newest `count` times are kept: more than
`count` times within the window is the same as the oldest of them being within it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from vaultak.policy.rules.conditions import ConditionError, Fields, reader
from vaultak.policy.rules.tree import MAX_RATE_COUNT, MAX_RATED_RULES, Rate

MAX_TIMES_PER_RULE = 2048
"""8 bytes each: with `MAX_RATED_RULES`, an agent takes 512 KiB at the very most, and a hundred bytes as a rule."""
MAX_GROUPS_PER_RULE = 256

_TIME_BYTES = 8
_KEY_BYTES = 12
"""Two groups that share a key cannot be found by trying (2^48 for a pair)."""


def capacity(rate: Rate) -> int:
    """How many groups of a rule are remembered; beyond them the one that was met longest ago makes room."""
    return max(1, min(MAX_GROUPS_PER_RULE, MAX_TIMES_PER_RULE // rate.count)) if rate.by else 1


assert MAX_RATE_COUNT <= MAX_TIMES_PER_RULE


class Tally(msgspec.Struct, array_like=True):
    """The times at which rules were met by one agent. Not thread-safe.

    Rules are known by their id: what was counted outlives a change of policy. Each rule has room of its own, so that
    no rule's groups push out another's.
    """

    rules: dict[str, dict[bytes, bytes]] = {}
    """Times of each group in rising order, in microseconds; groups in the order in which they were met last."""
    forgotten: int = 0
    """Groups that made room while their window was still open."""

    def add(self, rule: str, rate: Rate, key: bytes, at_us: int) -> bool:
        """Count one time more, at `at_us` in microseconds; whether that is one too many.

        Exact for times that do not fall. One that comes late is counted together with what is newer, and takes
        nothing from what comes on time.
        """
        groups = self.rules.get(rule, {})
        times = groups.pop(key, b"")
        since_us = at_us - rate.window_s * 1_000_000
        full = rate.count * _TIME_BYTES
        groups[key] = _insert(times, at_us)[-full:]
        self._settle(rule, groups, rate, since_us)
        return len(times) >= full and _time(times, len(times) - full) > since_us

    def _settle(self, rule: str, groups: dict[bytes, bytes], rate: Rate, since_us: int) -> None:
        room = capacity(rate)
        while len(groups) > room:
            times = groups.pop(next(iter(groups)))
            self.forgotten += _time(times, len(times) - _TIME_BYTES) > since_us
        self.rules.pop(rule, None)
        self.rules[rule] = groups
        while len(self.rules) > MAX_RATED_RULES:  # of policies that are gone
            del self.rules[next(iter(self.rules))]

    def clear(self) -> None:
        self.rules.clear()


def _time(times: bytes, at: int) -> int:
    return int.from_bytes(times[at : at + _TIME_BYTES], "big", signed=True)


def _insert(times: bytes, at_us: int) -> bytes:
    at = len(times)
    while at and _time(times, at - _TIME_BYTES) > at_us:
        at -= _TIME_BYTES
    return times[:at] + at_us.to_bytes(_TIME_BYTES, "big", signed=True) + times[at:]


class Occasion:
    """When an action takes place, and what its agent did before. One for each action, whatever it reaches: an action
    counts once.

    `now_s` is the time on the clock, in seconds since the epoch (`None`: not known, and no rule's hours either);
    `at_us` the time to count by, in microseconds, where the two differ. Without a tally nothing is counted, and no
    rate is exceeded.
    """

    __slots__ = ("_at_us", "_known", "_tally", "now_s")

    def __init__(self, now_s: float | None, tally: Tally | None = None, *, at_us: int | None = None) -> None:
        self.now_s = now_s
        self._at_us = round((now_s or 0.0) * 1_000_000) if at_us is None else at_us
        self._tally = tally
        self._known: dict[tuple[str, bytes], bool] = {}

    def beside(self, tally: Tally) -> Occasion:
        """The same moment, counted elsewhere: for another policy that judges the same action."""
        return Occasion(self.now_s, tally, at_us=self._at_us)

    def exceeds(self, rule: str, rate: Rate, key: bytes) -> bool:
        """Count the action for this group of the rule, and whether that is more than its rate."""
        known = self._known.get((rule, key))
        if known is None:
            known = self._tally is not None and self._tally.add(rule, rate, key, self._at_us)
            self._known[rule, key] = known
        return known


def compile_key(rate: Rate) -> Callable[[Fields], bytes]:
    """Which group an action belongs to: a digest of the fields that are counted by. What is absent is a value too,
    and text counts without regard to case, as conditions compare it.

    The function raises `ConditionError` for a value that has no JSON.
    """
    if not rate.by:
        return lambda fields: b""
    parts = tuple((name, reader(name)) for name in rate.by)

    def key(fields: Fields) -> bytes:
        digest = hashlib.blake2b(digest_size=_KEY_BYTES)
        for name, read in parts:
            for part in (name.encode(), _canonical(name, read(fields))):
                digest.update(len(part).to_bytes(_TIME_BYTES, "big") + part)
        return digest.digest()

    return key


def _canonical(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        return b"s" + value.lower().encode("utf-8", "surrogatepass")
    try:
        return b"j" + msgspec.json.encode(value, order="deterministic")
    except (TypeError, ValueError, RecursionError):
        raise ConditionError(f"`{name}` is {type(value).__name__}, which cannot be counted by") from None
