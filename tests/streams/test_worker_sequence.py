"""Offsets in order: whatever is dropped, late or doubled around a rebalance, each record is judged once and in turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vaultak_streams.agents.sequence import OffsetSequence, Rewinds
from vaultak_streams.records import Record


def records(*offsets: int) -> list[Record]:
    return [Record("t", 0, offset, None, b"", 0) for offset in offsets]


def offsets(found: list[Record]) -> list[int]:
    return [record.offset for record in found]


def started(at: int = 0) -> tuple[OffsetSequence, Rewinds]:
    rewinds = Rewinds()
    sequence = OffsetSequence(rewinds)
    sequence.start({0: at})
    return sequence, rewinds


def test_batches_in_order_pass_and_repeats_are_left_out() -> None:
    sequence, rewinds = started()
    assert offsets(sequence.admit(0, records(0, 1, 2), 0)) == [0, 1, 2]
    assert offsets(sequence.admit(0, records(1, 2, 3), 0)) == [3]
    assert sequence.position(0) == 4
    assert rewinds.take() == {}


def test_a_partition_that_is_not_read_gives_nothing() -> None:
    sequence, _ = started()
    assert sequence.admit(7, records(0), 0) == []
    assert sequence.position(7) is None


def test_a_batch_too_far_ahead_is_asked_for_again() -> None:
    sequence, rewinds = started(5)
    assert sequence.admit(0, records(9, 10), rewinds.round) == []
    assert sequence.admit(0, records(11), rewinds.round) == [], "fetched before the rewind: late, not a gap"
    assert rewinds.take() == {0: 5}
    assert offsets(sequence.admit(0, records(5, 6, 7, 8), rewinds.round)) == [5, 6, 7, 8]
    assert offsets(sequence.admit(0, records(9, 10, 11), rewinds.round)) == [9, 10, 11]
    assert sequence.counters == {"rewinds": 1}


def test_offsets_that_the_broker_does_not_have_are_passed_over_after_one_second_look() -> None:
    sequence, rewinds = started(5)
    assert sequence.admit(0, records(8), rewinds.round) == []
    rewinds.take()
    assert offsets(sequence.admit(0, records(8), rewinds.round)) == [8]
    assert sequence.counters == {"rewinds": 1, "gaps": 1}


LOG_END = 60


@given(
    st.lists(st.sampled_from(["fetch", "twice", "rebalance, lost", "rebalance, late"]), max_size=80), st.integers(1, 7)
)
def test_nothing_is_lost_however_often_partitions_come_and_go(happenings: list[str], size: int) -> None:
    """At a rebalance what was fetched is lost or arrives late, and reading goes on from what was judged."""
    sequence, rewinds = started()
    judged: list[int] = []
    position = 0

    def fetch() -> tuple[list[Record], int]:
        nonlocal position
        for offset in rewinds.take().values():
            position = offset
        batch = records(*range(position, min(position + size, LOG_END)))
        position += len(batch)
        return batch, rewinds.round

    def deliver(batch: tuple[list[Record], int]) -> None:
        judged.extend(offsets(sequence.admit(0, *batch)))

    for what in [*happenings, *["fetch"] * (2 * LOG_END)]:
        batch = fetch()
        if what.startswith("rebalance"):
            fetch()
            position = len(judged)
            sequence.start({0: len(judged)})
        if what != "rebalance, lost":
            deliver(batch)
        if what == "twice":
            deliver(batch)
    assert judged == list(range(LOG_END))


def test_records_that_never_arrived_are_read_again_on_demand() -> None:
    sequence, rewinds = started(3)
    sequence.again(0)
    assert rewinds.take() == {0: 3}
    assert offsets(sequence.admit(0, records(3, 4), rewinds.round)) == [3, 4]
