"""A sample of rows in bounded memory, in which no agent counts for much more than another."""

from __future__ import annotations

import hashlib
import heapq
from typing import NamedTuple

AGENT_ROWS = 3_000
"""At most this many rows of one agent: whoever holds one agent does not hold the model."""
ALL_ROWS = 60_000
"""A forest sees 25,600 rows at most; the rest makes the calibration fine enough for 1 in 10,000."""


class Row(NamedTuple):
    """An action's features; `order` decides who stays, and is fixed by the action's own name."""

    order: int
    agent_id: str
    session_id: str
    ts_us: int
    measures: tuple[float, ...]


class Sample:
    """Keeps the rows with the highest `order` of each agent; which rows stay does not depend on when they come.

    Full, it takes from the agents with the most rows until all have the same.
    """

    def __init__(self, *, agent_rows: int = AGENT_ROWS, all_rows: int = ALL_ROWS) -> None:
        self._limit = agent_rows
        self._all_rows = all_rows
        self._heaps: dict[str, list[Row]] = {}
        self._kept = 0
        self._least = 0
        """Agents whose names come to less are left out: there are more of them than rows."""
        self.seen = 0

    def add(self, row: Row) -> None:
        self.seen += 1
        if self._least and order_of(row.agent_id) < self._least:
            return
        heap = self._heaps.setdefault(row.agent_id, [])
        if len(heap) >= self._limit:
            heapq.heappushpop(heap, row)
            return
        heapq.heappush(heap, row)
        self._kept += 1
        if self._kept > self._all_rows:
            self._level()

    def _level(self) -> None:
        """Lower the limit of an agent until a tenth of the room is free; the agents themselves are bounded by it."""
        goal = self._all_rows * 9 // 10
        if len(self._heaps) > goal:
            self._leave_out(goal)
        self._limit = _water_level([len(heap) for heap in self._heaps.values()], goal)
        for heap in self._heaps.values():
            while len(heap) > self._limit:
                heapq.heappop(heap)
        self._kept = sum(map(len, self._heaps.values()))

    def _leave_out(self, goal: int) -> None:
        """Keep so many agents, chosen by their names: whoever comes later is measured by the same bar."""
        self._least = sorted(map(order_of, self._heaps), reverse=True)[goal - 1]
        self._heaps = {name: heap for name, heap in self._heaps.items() if order_of(name) >= self._least}

    @property
    def agents(self) -> int:
        """Whose rows are kept."""
        return len(self._heaps)

    def rows(self) -> list[Row]:
        """What is kept, in an order that says nothing of agents or times."""
        return sorted((row for heap in self._heaps.values() for row in heap), reverse=True)


def order_of(*names: str) -> int:
    """A number from names, the same on every machine, uniform over 64 bits."""
    text = "\0".join(names).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _water_level(counts: list[int], goal: int) -> int:
    """The highest limit under which the counts add up to `goal` at most; 1 where not even that does."""
    low, high = 1, max(counts)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(count, middle) for count in counts) <= goal:
            low = middle
        else:
            high = middle - 1
    return low
