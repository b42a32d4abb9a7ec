"""How often a destination is written to."""

from __future__ import annotations


class Pace:
    """A token bucket: `burst` messages at once, `per_minute` in the long run. Time is passed in, in seconds."""

    def __init__(self, per_minute: float, burst: int) -> None:
        self._per_s = per_minute / 60
        self._burst = burst
        self._tokens = float(burst)
        self._at_s: float | None = None

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next message may go; 0: now."""
        if self._at_s is not None:
            self._tokens = min(self._burst, self._tokens + max(0.0, now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return 0.0 if self._tokens >= 1 - 1e-9 else (1 - self._tokens) / self._per_s

    def spend(self) -> None:
        """A message goes."""
        self._tokens -= 1
