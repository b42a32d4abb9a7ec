"""What the console asks of the store. Every value is a parameter bound by the server; no SQL is made from input."""

from __future__ import annotations

from typing import Any

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
