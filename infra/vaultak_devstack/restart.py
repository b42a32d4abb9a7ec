"""When a child that ended is started again: soon at first, ever later, at once again after it has run well."""

from __future__ import annotations

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
HEALTHY_AFTER_S = 60.0


class Backoff:
    """Doubling delays, bounded; pure: time is passed in.

    `started(now)` when the child starts, `ended(now)` when it ends: the second returns how long to wait.
    """

    def __init__(
        self,
        *,
        first_s: float = FIRST_DELAY_S,
        max_s: float = MAX_DELAY_S,
        healthy_after_s: float = HEALTHY_AFTER_S,
    ) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._healthy_after_s = healthy_after_s
        self._started_s = 0.0
        self._in_a_row = 0
        self.restarts = 0
        """In total, since it was first started."""

    def started(self, now_s: float) -> None:
        self._started_s = now_s

    def ended(self, now_s: float) -> float:
        if now_s - self._started_s >= self._healthy_after_s:
            self._in_a_row = 0
        delay = min(self._first_s * 2.0 ** min(self._in_a_row, 32), self._max_s)
        self._in_a_row += 1
        self.restarts += 1
        return delay
