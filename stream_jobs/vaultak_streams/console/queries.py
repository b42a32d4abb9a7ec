"""What the console asks of the store. Every value is a parameter bound by the server; no SQL is made from input.

Answers come from the documented views. Where one question would make a view merge everything, its candidates are
found in `action_parts` first, which holds the same before it is merged.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from vaultak_streams.console.search_terms import Terms
from vaultak_streams.store.client import Store

Record = dict[str, Any]


def fleet(store: Store) -> list[Record]:
    """Every agent with its state, totals, and the last 60 minutes: actions and highest risk minute by minute."""
    return store.query(_FLEET).records()


_FLEET = """
SELECT a.agent_id AS agent_id, a.state AS state, a.state_reason AS state_reason, a.actions AS actions,
       a.stopped AS stopped, a.last_action AS last_action, a.baseline_events AS baseline_events,
       m.hour_actions AS hour_actions, m.hour_stopped AS hour_stopped, m.hour_risk AS hour_risk,
       m.per_minute AS per_minute, m.risks AS risks, m.last_minutes AS last_minutes
FROM agents AS a
LEFT JOIN
(
    SELECT agent_id, sum(actions) AS hour_actions, sum(stopped) AS hour_stopped, max(max_risk) AS hour_risk,
           sumIf(actions, minute >= now() - INTERVAL 5 MINUTE) / 5 AS per_minute,
           groupArray((dateDiff('minute', minute, now()), max_risk)) AS risks,
           groupArray((dateDiff('minute', minute, now()), actions)) AS last_minutes
    FROM agent_minutes
    WHERE minute >= now() - INTERVAL 60 MINUTE
    GROUP BY agent_id
) AS m ON m.agent_id = a.agent_id
ORDER BY a.state = 'running', m.hour_risk DESC, a.last_action DESC, a.agent_id
LIMIT 500
"""


def totals(store: Store) -> Record:
    """Of the last hour and the last day, over the whole fleet."""
    return store.query(_TOTALS).records()[0]


_TOTALS = """
SELECT sumIf(actions, minute >= now() - INTERVAL 1 HOUR) AS hour_actions,
       sumIf(stopped, minute >= now() - INTERVAL 1 HOUR) AS hour_stopped,
       sumIf(actions, minute >= now() - INTERVAL 5 MINUTE) / 5 AS per_minute,
       sum(actions) AS day_actions, sum(stopped) AS day_stopped, sum(alerted) AS day_alerted
FROM agent_minutes
WHERE minute >= now() - INTERVAL 1 DAY
"""


def fleet_minutes(store: Store, minutes: int) -> list[Record]:
    """Minute by minute over the fleet, oldest first; minutes without actions are left out."""
    return store.query(_FLEET_MINUTES, {"minutes": minutes}).records()


_FLEET_MINUTES = """
SELECT minute, sum(actions) AS actions, sum(stopped) AS stopped, sum(alerted) AS alerted, max(max_risk) AS max_risk
FROM agent_minutes
WHERE minute >= now() - toIntervalMinute({minutes:UInt32})
GROUP BY minute
ORDER BY minute
"""


def open_incidents(store: Store, limit: int) -> list[Record]:
    """Incidents not closed, the newest first."""
    return store.query(
        "SELECT * FROM incidents WHERE status != 'closed' ORDER BY ts DESC LIMIT {limit:UInt32}", {"limit": limit}
    ).records()


# -- one agent -----------------------------------------------------------------------------------------------------


def agent(store: Store, agent_id: str) -> Record | None:
    """Where an agent stands; `None` when it never acted."""
    found = store.query("SELECT * FROM agents WHERE agent_id = {agent:String}", {"agent": agent_id}).records()
    return found[0] if found else None


def agent_series(store: Store, agent_id: str, hours: int, step_s: int) -> list[Record]:
    """Actions, stopped, highest and typical risk in steps of `step_s`, oldest first."""
    return store.query(_SERIES, {"agent": agent_id, "hours": hours, "step": step_s}).records()


_SERIES = """
SELECT toUnixTimestamp(toStartOfInterval(minute, toIntervalSecond({step:UInt32}))) AS at,
       sum(actions) AS actions, sum(stopped) AS stopped, max(max_risk) AS max_risk
FROM agent_minutes
WHERE agent_id = {agent:String} AND minute >= now() - toIntervalHour({hours:UInt32})
GROUP BY at
ORDER BY at
"""


def habits(store: Store, agent_id: str, days: int) -> list[Record]:
    """What it usually does: each kind of action with its share, its mean risk and how many resources it touched."""
    return store.query(_HABITS, {"agent": agent_id, "days": days}).records()


_HABITS = """
SELECT action_type, count() AS actions, avg(risk) AS mean_risk, uniq(resource) AS resources,
       topK(1)(resource)[1] AS usual
FROM actions
WHERE agent_id = {agent:String} AND ts >= now() - toIntervalDay({days:UInt32})
GROUP BY action_type
ORDER BY actions DESC
LIMIT 8
"""


# -- actions -------------------------------------------------------------------------------------------------------


def actions(store: Store, terms: Terms, limit: int, before: dt.datetime | None = None) -> list[Record]:
    """The newest actions that match, newest first. Found by their narrow columns, then read whole."""
    given = terms.parameters() | {"limit": limit, "before": before or _NEVER}
    find = _FIND if terms.text else _FIND_NEWEST if terms.only_time else _FIND_NARROW
    found = list(dict.fromkeys(store.query(find, given).rows))[:limit]
    if not found:
        return []
    return store.query(_ROWS, {"pairs": found}).records()


_NEVER = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)

_MATCH = """
SELECT agent_id, action_id
FROM actions
WHERE ({agent:String} = '' OR agent_id = {agent:String})
  AND ({session:String} = '' OR session_id = {session:String})
  AND ({type:String} = '' OR action_type = {type:String})
  AND ({decision:String} = '' OR decision = {decision:String}
       OR ({decision:String} = 'stopped' AND (decision IN ('pause', 'block', 'rollback', 'kill')
                                              OR local_decision IN ('pause', 'block', 'rollback', 'kill'))))
  AND ({status:String} = '' OR outcome_status = {status:String})
  AND ({rule:String} = '' OR has(rules, {rule:String}))
  AND ({min_risk:Float64} <= 0 OR risk >= {min_risk:Float64})
  AND ts >= {since:DateTime64(6, 'UTC')} AND ts <= {until:DateTime64(6, 'UTC')}
  AND ts < {before:DateTime64(6, 'UTC')}
"""
_LATEST = "ORDER BY ts DESC LIMIT {limit:UInt32}"
_FIND_NARROW = _MATCH + _LATEST
_FIND_NEWEST = """
SELECT agent_id, action_id
FROM action_parts
WHERE action_type IS NOT NULL AND ts >= {since:DateTime64(6, 'UTC')} AND ts <= {until:DateTime64(6, 'UTC')}
  AND ts < {before:DateTime64(6, 'UTC')}
ORDER BY ts DESC
LIMIT {limit:UInt32} * 2 -- what was delivered twice shows twice until it is merged
"""
_FIND = (
    _MATCH
    + """
  AND (positionCaseInsensitive(resource, {text:String}) > 0 OR positionCaseInsensitive(payload, {text:String}) > 0
       OR positionCaseInsensitive(agent_id, {text:String}) > 0 OR action_id = {text:String}
       OR positionCaseInsensitive(session_id, {text:String}) > 0
       OR arrayExists(r -> positionCaseInsensitive(r, {text:String}) > 0, reasons)
       OR positionCaseInsensitive(content, {text:String}) > 0 OR positionCaseInsensitive(error, {text:String}) > 0)
"""
    + _LATEST
)

_ROWS = """
SELECT agent_id, action_id, ifNull(anyLast(p.session_id), '') AS session_id, assumeNotNull(anyLast(p.ts)) AS ts,
       assumeNotNull(anyLast(p.action_type)) AS action_type, ifNull(anyLast(p.resource), '') AS resource,
       anyLast(p.risk) AS risk, anyLast(p.decision) AS decision, anyLast(p.local_decision) AS local_decision,
       anyLast(p.outcome_status) AS outcome_status, anyLast(p.duration_ms) AS duration_ms,
       JSONExtract(ifNull(anyLast(p.reasons), '[]'), 'Array(String)') AS reasons,
       JSONExtract(ifNull(anyLast(p.rules), '[]'), 'Array(String)') AS rules,
       anyLast(p.scored_ts) AS scored_ts, anyLast(p.outcome_ts) AS outcome_ts
FROM action_parts AS p
WHERE (agent_id, action_id) IN {pairs:Array(Tuple(String, String))}
GROUP BY agent_id, action_id
ORDER BY ts DESC, action_id DESC
"""


def action(store: Store, agent_id: str, action_id: str) -> Record | None:
    """One action with everything that is known of it."""
    given = {"agent": agent_id, "id": action_id}
    found = store.query(
        "SELECT * FROM actions WHERE agent_id = {agent:String} AND action_id = {id:String} LIMIT 1", given
    ).records()
    return found[0] if found else None


def waiting(store: Store, limit: int) -> list[Record]:
    """Actions of the last day that are held until somebody approves or denies them, newest first."""
    return store.query(_WAITING, {"limit": limit}).records()


_WAITING = """
SELECT agent_id, session_id, action_id, ts, action_type, resource, risk, reasons
FROM actions
WHERE (agent_id, action_id) IN
  (
    SELECT agent_id, action_id FROM action_parts
    WHERE ts >= now() - INTERVAL 1 DAY AND (decision = 'pause' OR local_decision = 'pause')
    ORDER BY ts DESC LIMIT 2000
  )
  AND outcome_status IS NULL
  AND (agent_id, action_id) NOT IN (SELECT agent_id, action_id FROM commands WHERE command IN ('approve', 'deny'))
ORDER BY ts DESC
LIMIT {limit:UInt32}
"""


def undoable(store: Store, agent_id: str, limit: int) -> list[Record]:
    """An agent's last actions that changed something and stand, newest first: what a rollback would begin with."""
    return store.query(_UNDOABLE, {"agent": agent_id, "limit": limit}).records()


_UNDOABLE = """
SELECT action_id, ts, action_type, resource, risk
FROM actions
WHERE agent_id = {agent:String} AND outcome_status = 'ok' AND ts >= now() - INTERVAL 1 DAY
  AND action_type IN ('file_write', 'file_delete', 'permission_change', 'database_write', 'custom', 'tool_call')
ORDER BY ts DESC
LIMIT {limit:UInt32}
"""


# -- incidents and commands ----------------------------------------------------------------------------------------


def incidents(store: Store, limit: int) -> list[Record]:
    """The newest incidents, closed ones too."""
    return store.query("SELECT * FROM incidents ORDER BY ts DESC LIMIT {limit:UInt32}", {"limit": limit}).records()


def incidents_of(store: Store, agent_id: str, limit: int) -> list[Record]:
    sql = "SELECT * FROM incidents WHERE agent_id = {agent:String} ORDER BY ts DESC LIMIT {limit:UInt32}"
    return store.query(sql, {"agent": agent_id, "limit": limit}).records()


def incident(store: Store, incident_id: str) -> list[Record]:
    """An incident, and the others of its agent and session; the one asked for comes first."""
    return store.query(_INCIDENT, {"id": incident_id}).records()


_INCIDENT = """
SELECT * FROM incidents
WHERE (agent_id, session_id) IN (SELECT agent_id, session_id FROM incidents WHERE incident_id = {id:String})
ORDER BY incident_id = {id:String} DESC, ts DESC
LIMIT 50
"""


def states(store: Store) -> dict[str, str]:
    """The state of every agent that was ever given one."""
    return dict(store.query("SELECT agent_id, state FROM agents WHERE state != 'running'").rows)


def actions_of_case(
    store: Store, agent_id: str, session_id: str, action_ids: Sequence[str], limit: int
) -> list[Record]:
    """What belongs to an incident: the actions it names, and whatever else of its session was not simply allowed."""
    given = {"agent": agent_id, "session": session_id, "ids": list(action_ids), "limit": limit}
    return store.query(_CASE, given).records()


_CASE = """
SELECT agent_id, action_id, session_id, ts, action_type, resource, risk, decision, local_decision, outcome_status,
       duration_ms, reasons, rules, scored_ts, outcome_ts
FROM actions
WHERE agent_id = {agent:String} AND (action_id IN {ids:Array(String)} OR (session_id = {session:String}
  AND (decision != 'allow' OR outcome_status IN ('denied', 'reversed'))))
ORDER BY ts DESC
LIMIT {limit:UInt32}
"""


def commands_about(
    store: Store, agent_ids: Sequence[str], incident_ids: Sequence[str], command_ids: Sequence[str] = ()
) -> list[Record]:
    """Commands that were given because of these incidents, oldest first."""
    sql = """SELECT * FROM commands WHERE agent_id IN {agents:Array(String)}
    AND (incident_id IN {incidents:Array(String)} OR command_id IN {commands:Array(String)}) ORDER BY ts LIMIT 2000"""
    given = {"agents": [*agent_ids, "*"], "incidents": list(incident_ids), "commands": list(command_ids)}
    return store.query(sql, given).records()


def acks_of(store: Store, command_ids: Sequence[str]) -> list[Record]:
    """What the agents' instances answered, oldest first."""
    sql = "SELECT * FROM acks WHERE command_id IN {ids:Array(String)} ORDER BY ts LIMIT 1000"
    return store.query(sql, {"ids": list(command_ids)}).records()


def commands(store: Store, limit: int, agent_id: str = "", text: str = "") -> list[Record]:
    """The newest commands with how many instances answered and how."""
    return store.query(_COMMANDS, {"limit": limit, "agent": agent_id, "text": text}).records()


_COMMANDS = """
SELECT c.command_id AS command_id, c.agent_id AS agent_id, c.command AS command, c.ts AS ts, c.issued_by AS issued_by,
       c.action_id AS action_id, c.incident_id AS incident_id, c.reason AS reason, c.key_id AS key_id,
       groupUniqArrayIf(a.result, a.result != '') AS results, countIf(a.result != '') AS instances,
       minIf(a.ts, a.result != '') AS first_ack, anyIf(a.detail, a.detail != '') AS detail
FROM commands AS c
LEFT JOIN acks AS a ON a.command_id = c.command_id
WHERE ({agent:String} = '' OR c.agent_id = {agent:String} OR c.agent_id = '*')
  AND ({text:String} = '' OR positionCaseInsensitive(
       concat(c.agent_id, ' ', c.reason, ' ', c.issued_by, ' ', c.command), {text:String}) > 0)
GROUP BY ALL
ORDER BY ts DESC
LIMIT {limit:UInt32}
"""


def command(store: Store, command_id: str) -> Record | None:
    found = store.query("SELECT * FROM commands WHERE command_id = {id:String} LIMIT 1", {"id": command_id}).records()
    return found[0] if found else None


def matching_incidents(store: Store, text: str, limit: int) -> list[Record]:
    sql = """SELECT * FROM incidents WHERE positionCaseInsensitive(concat(title, ' ', agent_id, ' ', session_id, ' ',
    incident_id), {text:String}) > 0 ORDER BY ts DESC LIMIT {limit:UInt32}"""
    return store.query(sql, {"text": text, "limit": limit}).records()


def matching_agents(store: Store, text: str, limit: int) -> list[Record]:
    sql = """SELECT agent_id, state, actions, stopped, max_risk, last_action FROM agents
    WHERE positionCaseInsensitive(agent_id, {text:String}) > 0 ORDER BY last_action DESC LIMIT {limit:UInt32}"""
    return store.query(sql, {"text": text, "limit": limit}).records()


# -- policy and pipeline -------------------------------------------------------------------------------------------


def policies(store: Store) -> list[Record]:
    """The policies that have judged, the newest first."""
    return store.query("SELECT * FROM policy_versions ORDER BY last_seen DESC LIMIT 20").records()


def models(store: Store) -> list[Record]:
    """The models that have judged, the newest first."""
    return store.query("SELECT * FROM model_versions ORDER BY last_seen DESC LIMIT 20").records()


def rule_hits(store: Store, days: int) -> list[Record]:
    """Rules that matched, how often, for how many agents, and when last."""
    return store.query(_RULE_HITS, {"days": days}).records()


_RULE_HITS = """
SELECT rule, count() AS hits, uniq(agent_id) AS agents, max(ts) AS last_hit, topK(1)(decision)[1] AS mostly
FROM actions ARRAY JOIN rules AS rule
WHERE ts >= now() - toIntervalDay({days:UInt32})
GROUP BY rule
ORDER BY hits DESC
LIMIT 100
"""


def decisions_by_policy(store: Store, days: int) -> list[Record]:
    return store.query(_DECISIONS, {"days": days}).records()


_DECISIONS = """
SELECT policy_version AS version, decision, count() AS actions
FROM actions
WHERE decision IS NOT NULL AND ts >= now() - toIntervalDay({days:UInt32})
GROUP BY version, decision
ORDER BY version, actions DESC
LIMIT 200
"""


def dead_letter_counts(store: Store) -> list[Record]:
    return store.query(
        "SELECT reason, count() AS count, max(ts) AS last_seen FROM dead_letters GROUP BY reason ORDER BY count DESC"
    ).records()


def dead_letters(store: Store, limit: int) -> list[Record]:
    return store.query("SELECT * FROM dead_letters ORDER BY ts DESC LIMIT {limit:UInt32}", {"limit": limit}).records()


def freshness(store: Store) -> Record:
    """How old the newest of each is, in seconds, and how much of the last hour waits for its verdict."""
    return store.query(_FRESHNESS).records()[0]


_FRESHNESS = """
SELECT count() AS actions, countIf(decision IS NULL) AS unjudged,
       quantileIf(0.5)(dateDiff('millisecond', ts, scored_ts), scored_ts IS NOT NULL) AS p50_ms,
       quantileIf(0.99)(dateDiff('millisecond', ts, scored_ts), scored_ts IS NOT NULL) AS p99_ms
FROM actions
WHERE ts >= now() - INTERVAL 1 HOUR
"""
