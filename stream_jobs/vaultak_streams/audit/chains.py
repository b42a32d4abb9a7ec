"""The hash chains of the agents, walked in SQL: one pass over the messages as they came, group of agents by group.

The SDK hashes the canonical JSON of an event without its `hash` (`vaultak.chain`). `events_log.value` is that JSON with
the member put back, so the server cuts it out again and hashes the rest: no further column is needed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import msgspec

from vaultak_streams.store.client import Store

LONG_AGO = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
"""A time that bounds nothing; `DateTime64(6)` holds it."""

GROUP_ROWS = 1_000_000
"""Events walked by one query: what its sort holds in memory, about 80 bytes each."""

LISTED = 100
"""Findings of one chain that are listed; the others are counted."""

CONFIRMED = 1_000_000
"""Flagged events of one chain that are looked at one by one."""

ALTERED, MISFILED, GAP, DOUBLE, BROKEN, FALSE_START = 1, 2, 4, 8, 16, 32


class AgentRange(msgspec.Struct, frozen=True):
    """Agents next to each other in the order of the table, both ends included."""

    first: str
    last: str


class Flagged(msgspec.Struct, frozen=True):
    """An event of a chain with what is wrong about it; `expected`: the number after the one before it."""

    seq: int
    expected: int
    flags: int
    event_id: int
    head_before: int
    """The hash (its first 16 bytes, little-endian) of the event before it in the table."""


class Chain(msgspec.Struct, frozen=True):
    """What is stored of one chain. `head` is the hash (its first 16 bytes) of the event `last`."""

    agent_id: str
    instance: str
    events: int
    first: int
    last: int
    head: bytes
    first_stored_at: dt.datetime
    flagged: tuple[Flagged, ...]
    flagged_count: int


def agent_ranges(store: Store, agent_id: str, since: dt.datetime, group_rows: int = GROUP_ROWS) -> list[AgentRange]:
    """All agents that have events, in groups of about `group_rows` events."""
    sizes = store.query(_SIZES, {"agent": agent_id, "since": since}).rows
    ranges: list[AgentRange] = []
    first, last, rows = "", "", 0
    for name, count in sizes:
        if rows and rows + count > group_rows:
            ranges.append(AgentRange(first, last))
            rows = 0
        first, last, rows = (first if rows else name), name, rows + count
    return [*ranges, AgentRange(first, last)] if rows else ranges


def walk(store: Store, agents: AgentRange, since: dt.datetime) -> Iterator[Chain]:
    """The chains of these agents."""
    group = {"first": agents.first, "last": agents.last, "since": since, "instance": "", "listed": LISTED}
    for row in store.query(_WALK, group).rows:
        chain = _chain(row)
        if chain.flagged_count > LISTED:
            one = {"first": chain.agent_id, "last": chain.agent_id, "instance": chain.instance}
            again = {**one, "since": since, "listed": CONFIRMED}
            chain = next(map(_chain, store.query(_WALK, again).rows), chain)
        yield chain


def _chain(row: tuple[Any, ...]) -> Chain:
    agent_id, instance, events, first, last, head, stored_at, flagged, count = row
    return Chain(
        agent_id,
        instance,
        events,
        first,
        last,
        int(head).to_bytes(16, "little"),
        stored_at,
        tuple(Flagged(*map(int, one)) for one in flagged),
        count,
    )


_SIZES = """
SELECT agent_id, count() AS events
FROM events_log
WHERE ({agent:String} = '' OR agent_id = {agent:String}) AND ingested_at >= {since:DateTime64(6, 'UTC')}
GROUP BY agent_id ORDER BY agent_id
"""

# The last setting: or the sort would hold the messages.
# A message delivered twice is the same row twice until the server merges them: the same number and the same hash.
_WALK = f"""
SELECT
    agent_id,
    instance,
    count() AS events,
    min(seq) AS first,
    max(seq) AS last,
    argMax(head, seq) AS last_head,
    min(stored_at) AS first_stored_at,
    groupArrayIf({{listed:UInt32}})((seq, expected, flags, event_id, head_before), flags != 0) AS flagged,
    countIf(flags != 0) AS flagged_count
FROM
(
    SELECT
        agent_id, instance, seq, head, event_id, stored_at,
        lagInFrame(seq + 1, 1, 0) OVER before AS expected,
        lagInFrame(head, 1, toUInt128(0)) OVER before AS head_before,
        wrong
            + if(expected > 0 AND seq > expected, {GAP}, 0)
            + if(seq + 1 = expected AND head != head_before, {DOUBLE}, 0)
            + if(seq = expected AND follows != head_before, if(expected = 0, {FALSE_START}, {BROKEN}), 0) AS flags
    FROM
    (
        SELECT
            agent_id,
            instance,
            assumeNotNull(events_log.seq) AS seq,
            event_id,
            ingested_at AS stored_at,
            substring(value, -75, 9) = ',"hash":"' AS hash_last,
            unhex(if(hash_last, substring(value, -66, 64), JSONExtractString(value, 'hash'))) AS hash,
            if(hash_last, concat(substring(value, 1, length(value) - 75), '}}'),
               replaceOne(value, concat(',"hash":"', lower(hex(hash)), '"'), '')) AS hashed,
            reinterpretAsUInt128(substring(hash, 1, 16)) AS head,
            reinterpretAsUInt128(unhex(substring(value, position(value, '"prev_hash":"') + 13, 32))) AS follows,
            position(value, concat('"schema_version":1,"seq":', toString(seq), ',"session_id":"', session_id, '"')) > 0
                AND position(value, concat('"agent_id":"', agent_id, '"')) > 0
                AND position(value, concat('"instance":"', instance, '","kind":"', kind, '"')) > 0
                AND substring(value, -103, 27) = formatDateTime(ts, '%Y-%m-%dT%H:%i:%S.%fZ')
                AND (kind = 'context' OR startsWith(value, concat('{{"action_id":"', action_id, '"'))) AS filed,
            if(SHA256(hashed) = hash, 0, {ALTERED}) + if(filed, 0, {MISFILED}) AS wrong
        FROM events_log
        WHERE agent_id >= {{first:String}} AND agent_id <= {{last:String}} AND kind != 'undecodable'
          AND ({{instance:String}} = '' OR instance = {{instance:String}})
          AND isNotNull(events_log.seq) AND ingested_at >= {{since:DateTime64(6, 'UTC')}}
    )
    WINDOW before AS (PARTITION BY agent_id, instance ORDER BY seq, head ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
GROUP BY agent_id, instance
ORDER BY agent_id, instance
SETTINGS max_execution_time = 300, max_bytes_before_external_sort = 400000000,
    query_plan_execute_functions_after_sorting = 0
"""  # noqa: S608 - put together from the numbers above
