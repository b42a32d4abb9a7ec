"""How fast each key may send: a token bucket each, bounded in number."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

MAX_BUCKETS = 10_000


class _Bucket(msgspec.Struct):
    tokens: float
    at_s: float


class Quotas:
    """`per_second` events in the long run, `burst` at once; a request of more than a burst waits for a full bucket."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second, self._burst = per_second, burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def spend(self, key_id: str, events: int, now_s: float) -> float:
        """Take so many; returns 0, or after how many seconds it may work, and then nothing is taken."""
        bucket = self._buckets.setdefault(key_id, _Bucket(float(self._burst), now_s))
        self._buckets.move_to_end(key_id)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self._burst, bucket.tokens + max(0.0, now_s - bucket.at_s) * self._per_second)
        bucket.at_s = now_s
        needed = min(events, self._burst)
        if bucket.tokens < needed:
            return (needed - bucket.tokens) / self._per_second
        bucket.tokens -= events
        return 0.0
