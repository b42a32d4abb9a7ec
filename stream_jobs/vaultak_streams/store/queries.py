"""What is asked of the store. Every value is a parameter bound by the server; no SQL is put together from input."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from vaultak.errors import ConfigurationError
from vaultak_streams.store.client import Result, Store

_AGO = re.compile(r"(\d+)([smhdw])")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_CHUNK = 2000
LONG_AGO = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
FAR_AHEAD = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
"""Times that bound nothing. `DateTime64(6)` holds both."""


class AuditFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Which actions. `None` means no matter. `since` and `until`: `15m`, `2h`, `7d` ago, or an RFC 3339 time."""

    agent_id: str | None = None
    session_id: str | None = None
    action_type: str | None = None
    decision: str | None = None
    text: str | None = None
    since: str | None = None
    until: str | None = None
    min_risk: float | None = None
    limit: int = 50


def audit_query(store: Store, filters: AuditFilters) -> Result:
    """Actions with risk, decision and outcome, newest first."""
    parameters = {
        "agent": filters.agent_id or "",
        "session": filters.session_id or "",
        "type": filters.action_type or "",
        "decision": filters.decision or "",
        "text": filters.text or "",
        "since": moment("--since", filters.since) or LONG_AGO,
        "until": moment("--until", filters.until) or FAR_AHEAD,
        "min_risk": -1.0 if filters.min_risk is None else filters.min_risk,
        "limit": filters.limit,
    }
    return store.query(_AUDIT, parameters)


_AUDIT = """
SELECT ts, agent_id, action_type, resource, risk, decision, local_decision, outcome_status, reasons, action_id
FROM actions
WHERE ({agent:String} = '' OR agent_id = {agent:String})
  AND ({session:String} = '' OR session_id = {session:String})
  AND ({type:String} = '' OR action_type = {type:String})
  AND ({decision:String} = '' OR decision = {decision:String})
  AND ({text:String} = '' OR position(resource, {text:String}) > 0 OR position(payload, {text:String}) > 0)
  AND ts >= {since:DateTime64(6, 'UTC')} AND ts <= {until:DateTime64(6, 'UTC')}
  AND ifNull(risk, 0) >= {min_risk:Float64}
ORDER BY ts DESC
LIMIT {limit:UInt32}
"""


def moment(option: str, text: str | None) -> dt.datetime | None:
    """A time, from how long ago or from RFC 3339. Raises `ConfigurationError` naming the option."""
    if not text:
        return None
    if match := _AGO.fullmatch(text.strip()):
        return dt.datetime.now(dt.UTC) - dt.timedelta(seconds=int(match[1]) * _UNITS_S[match[2]])
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{option}: `{text[:40]}` is neither like `15m`, `2h`, `7d` nor RFC 3339") from None
    return when if when.tzinfo else when.replace(tzinfo=dt.UTC)


def sql_passthrough(store: Store, sql: str, parameters: Mapping[str, Any] | None = None) -> Result:
    """One SELECT of the caller's, with the rights of the connection's user (the viewer may only read)."""
    return store.query(sql, parameters)


def agents(store: Store) -> Result:
    """Every agent: state, counts, highest risk, last action."""
    return store.query(
        "SELECT agent_id, state, state_reason, actions, stopped, round(max_risk, 3) AS max_risk, last_action,"
        " baseline_events FROM agents ORDER BY last_action DESC, agent_id"
    )


def dead_letter_counts(store: Store) -> Result:
    return store.query(
        "SELECT reason, count() AS count, max(ts) AS last_seen FROM dead_letters GROUP BY reason ORDER BY count DESC"
    )


def stored_verdicts(store: Store, action_ids: Sequence[str]) -> int:
    """How many of these actions have their verdict stored."""
    total = 0
    for start in range(0, len(action_ids), _CHUNK):
        chunk = list(action_ids[start : start + _CHUNK])
        sql = (
            "SELECT uniqExact(action_id) FROM action_parts"
            " WHERE action_id IN {ids:Array(String)} AND decision IS NOT NULL"
        )
        total += int(store.query(sql, {"ids": chunk}).rows[0][0])
    return total
