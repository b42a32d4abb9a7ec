"""No record skipped, whatever a rebalance does to what was fetched before it.

A consumer hands out a partition's records in order, but around a rebalance batches are dropped, delivered late, or
fetched under the assignment before. Here each partition has the offset that has to come next; a batch that starts
beyond it is not judged but asked for again, from the right offset.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from vaultak_streams.records import Record

log = logging.getLogger("vaultak.worker")


class Rewinds:
    """Partitions that the consumer is to read again, by offset; `round` counts how often it has been done.

    Only the consumer's loop applies them, between two fetches: a batch that carries the round of its fetch is known
    to hold what was asked for up to that round.
    """

    def __init__(self) -> None:
        self.round = 0
        self._wanted: dict[int, int] = {}

    def want(self, partition: int, offset: int) -> int:
        """Ask for a partition from an offset on; returns the round from which it will be so."""
        self._wanted[partition] = offset
        return self.round + 1

    def take(self) -> dict[int, int]:
        """What is asked for; the next fetch belongs to the next round."""
        wanted, self._wanted = self._wanted, {}
        if wanted:
            self.round += 1
        return wanted


class OffsetSequence:
    """The offset that comes next, for each partition. Pure."""

    def __init__(self, rewinds: Rewinds) -> None:
        self.counters: Counter[str] = Counter()
        """`rewinds`, and `gaps`: offsets that the broker really does not have (compacted, expired, transactional)."""
        self._rewinds = rewinds
        self._next: dict[int, int] = {}
        self._asked: dict[int, int] = {}

    def start(self, offsets: Mapping[int, int]) -> None:
        """These partitions are read from these offsets on; nothing else is."""
        self._next = dict(offsets)
        self._asked = {}

    def position(self, partition: int) -> int | None:
        """The offset that has to come next; `None` for a partition that is not read."""
        return self._next.get(partition)

    def admit(self, partition: int, records: list[Record], fetch_round: int) -> list[Record]:
        """The records to judge now: none of a batch that starts too late, and none twice."""
        due = self._next.get(partition)
        if due is None or not records:
            return []
        if records[0].offset > due:
            if not self._is_gap(partition, due, fetch_round):
                return []
            self.counters["gaps"] += 1
        self._asked.pop(partition, None)
        self._next[partition] = max(due, records[-1].offset + 1)
        return records if records[0].offset >= due else [record for record in records if record.offset >= due]

    def again(self, partition: int) -> None:
        """Have a partition read again from where it should be."""
        self.counters["rewinds"] += 1
        self._asked[partition] = self._rewinds.want(partition, self._next[partition])

    def _is_gap(self, partition: int, due: int, fetch_round: int) -> bool:
        asked = self._asked.get(partition)
        if asked is None:
            log.info("partition %d: offset %d is due; reading it again", partition, due)
            self.again(partition)
            return False
        return fetch_round >= asked
