"""The rows of the actions, held to the events that they were made of, and to how actions go: told, judged, ended.

The server compares hashes of both sides, group of agents by group; `audit.retold` looks at what differs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import msgspec

from vaultak_streams.audit.chains import AgentRange
from vaultak_streams.store.client import Store

LISTED = 10_000
"""Actions of one group that are looked at one by one; the others are counted."""

WRITTEN_S = 60
"""The sink writes an event first and the row of its action after: within this time at most."""

SETTLED_S = 600
"""An action older than this has its verdict and, if its agent went on, its outcome."""

MISSING, INVENTED, CHANGED, NO_VERDICT, NO_OUTCOME, OUTCOME_ALONE = 1, 2, 4, 8, 16, 32


class Suspect(msgspec.Struct, frozen=True):
    """An action with what may be wrong about it."""

    agent_id: str
    action_id: str
    session_id: str
    instance: str
    seq: int | None
    flags: int


class Bounds(msgspec.Struct, frozen=True):
    """Which rows: stored from `since` on, settled at `now`; rows stored before `kept` may have lost one side
    to retention."""

    since: dt.datetime
    kept: dt.datetime
    now: dt.datetime


def compare(store: Store, agents: AgentRange, bounds: Bounds) -> tuple[int, list[Suspect], int]:
    """How many actions there are, those that want a second look, and how many more of those there are."""
    parameters = {
        "first": agents.first,
        "last": agents.last,
        "since": bounds.since,
        "kept": bounds.kept,
        "settled": bounds.now - dt.timedelta(seconds=SETTLED_S),
        "written": bounds.now - dt.timedelta(seconds=WRITTEN_S),
        "listed": LISTED,
    }
    total, suspects, count = store.query(_COMPARE, parameters).rows[0]
    return int(total), list(map(_suspect, suspects)), int(count) - len(suspects)


def _suspect(row: tuple[Any, ...]) -> Suspect:
    agent_id, action_id, session_id, instance, seq, flags = row
    return Suspect(agent_id, action_id, session_id, instance, None if seq is None else int(seq), int(flags))


def names(suspects: list[Suspect]) -> Iterator[tuple[str, list[Suspect]]]:
    """Suspects by agent."""
    by_agent: dict[str, list[Suspect]] = {}
    for suspect in suspects:
        by_agent.setdefault(suspect.agent_id, []).append(suspect)
    yield from by_agent.items()


# `simpleJSON...` finds the first member of a name: where a label or a payload has one of the same name before it, the
# row is suspected and then cleared.
_COMPARE = f"""
WITH
    {{first:String}} AS first_agent,
    {{last:String}} AS last_agent,
    told AS
    (
        SELECT
            agent_id,
            action_id,
            groupUniqArrayIf(8)(content_hash, kind = 'action') AS actions,
            groupUniqArrayIf(8)(content_hash, kind = 'outcome') AS outcomes,
            anyIf(session_id, kind = 'action') AS session_id,
            anyIf(instance, kind = 'action') AS instance,
            anyIf(seq, kind = 'action') AS seq,
            max(ingested_at) AS stored_at
        FROM
        (
            SELECT agent_id, action_id, kind, session_id, instance, seq, ts, ingested_at,
                if(kind = 'action',
                    sipHash64(session_id, instance, ifNull(seq, 0), toUnixTimestamp64Micro(ts),
                        simpleJSONExtractString(value, 'action_type'), simpleJSONExtractString(value, 'resource'),
                        simpleJSONExtractRaw(value, 'payload'), simpleJSONExtractRaw(value, 'labels'),
                        simpleJSONExtractString(value, 'assurance'), simpleJSONExtractString(value, 'parent_action_id'),
                        simpleJSONExtractString(value, 'decision'), simpleJSONExtractRaw(value, 'reasons'),
                        toFloat32(simpleJSONExtractFloat(value, 'risk'))),
                    sipHash64(toUnixTimestamp64Micro(ts), simpleJSONExtractString(value, 'status'),
                        simpleJSONExtractString(value, 'content'),
                        simpleJSONExtractString(value, 'error'), simpleJSONExtractFloat(value, 'duration_ms'))
                ) AS content_hash
            FROM events_log
            WHERE agent_id >= first_agent AND agent_id <= last_agent AND kind IN ('action', 'outcome')
              AND ingested_at >= {{since:DateTime64(6, 'UTC')}}
        )
        GROUP BY agent_id, action_id
    ),
    kept AS
    (
        SELECT
            agent_id, action_id,
            1 AS is_row, isNotNull(action_type) AS is_action, isNotNull(outcome_status) AS is_ended,
            ifNull(session_id, '') AS session_id, ifNull(instance, '') AS instance, seq, ts,
            isNotNull(decision) AS is_judged,
            ifNull(local_decision, '') IN ('allow', 'alert') AND ifNull(assurance, '') IN ('hook', 'patch')
                AND ifNull(action_type, '') != 'code_execution' AS is_owed,
            sipHash64(ifNull(session_id, ''), ifNull(instance, ''), ifNull(seq, 0),
                toUnixTimestamp64Micro(assumeNotNull(ts)), ifNull(toString(action_type), ''),
                ifNull(resource, ''), ifNull(payload, ''), ifNull(labels, ''), ifNull(toString(assurance), ''),
                ifNull(parent_action_id, ''), ifNull(toString(local_decision), ''), ifNull(local_reasons, ''),
                ifNull(local_risk, 0)) AS action_hash,
            sipHash64(toUnixTimestamp64Micro(assumeNotNull(outcome_ts)),
                ifNull(toString(outcome_status), ''), ifNull(content, ''), ifNull(error, ''),
                ifNull(duration_ms, 0)) AS outcome_hash,
            ingested_at AS stored_at
        FROM action_parts FINAL
        WHERE agent_id >= first_agent AND agent_id <= last_agent AND ingested_at >= {{since:DateTime64(6, 'UTC')}}
    ),
    living AS
    (
        SELECT agent_id, instance, max(ts) AS last_ts FROM events_log
        WHERE agent_id >= first_agent AND agent_id <= last_agent AND ingested_at >= {{since:DateTime64(6, 'UTC')}}
        GROUP BY agent_id, instance
    )
SELECT
    count() AS total,
    groupArrayIf({{listed:UInt32}})((agent, action, session, runs_as, number, flags), flags != 0) AS suspects,
    countIf(flags != 0) AS suspected
FROM
(
    SELECT
        if(k.is_row, k.agent_id, t.agent_id) AS agent,
        if(k.is_row, k.action_id, t.action_id) AS action,
        if(k.is_action, k.session_id, t.session_id) AS session,
        if(k.is_action, k.instance, t.instance) AS runs_as,
        if(k.is_action, k.seq, t.seq) AS number,
        greatest(k.stored_at, t.stored_at) >= {{kept:DateTime64(6, 'UTC')}} AS is_young,
        greatest(k.stored_at, t.stored_at) < {{written:DateTime64(6, 'UTC')}} AS is_written,
        (t.actions != [] AND NOT k.is_action AND is_young AND is_written) * {MISSING}
            + (k.is_action AND t.actions = [] AND is_young) * {INVENTED}
            + (k.is_action AND t.actions != [] AND NOT has(t.actions, k.action_hash)
                OR k.is_row AND t.outcomes != [] AND is_written AND NOT has(t.outcomes, k.outcome_hash)
                OR k.is_ended AND t.outcomes = [] AND is_young) * {CHANGED}
            + (k.is_action AND NOT k.is_judged AND k.stored_at < {{settled:DateTime64(6, 'UTC')}}) * {NO_VERDICT}
            + (k.is_owed AND NOT k.is_ended AND l.last_ts >= assumeNotNull(k.ts) + INTERVAL {SETTLED_S} SECOND)
                * {NO_OUTCOME}
            + (k.is_ended AND NOT k.is_action AND t.actions = [] AND k.stored_at < {{settled:DateTime64(6, 'UTC')}})
                * {OUTCOME_ALONE} AS flags
    FROM kept AS k
    FULL OUTER JOIN told AS t ON k.agent_id = t.agent_id AND k.action_id = t.action_id
    LEFT JOIN living AS l ON k.agent_id = l.agent_id AND k.instance = l.instance
)
SETTINGS max_execution_time = 300, join_use_nulls = 0, max_bytes_before_external_group_by = 400000000
"""  # noqa: S608 - put together from the numbers above
