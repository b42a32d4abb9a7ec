"""Which actions somebody asks for, as a condition with bound values; and a SELECT of their own, harmless."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from vaultak.errors import ConfigurationError
from vaultak_streams.audit.chains import LONG_AGO
from vaultak_streams.store.client import Result, Store
from vaultak_streams.store.queries import moment

FAR_AHEAD = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)

SQL_SECONDS, SQL_ROWS, SQL_BYTES = 60, 100_000, 256 << 20
"""What a SELECT of the caller's own may take, and give back."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which actions; empty: no matter. `since`, `until`: `15m`, `2h`, `7d` ago, or RFC 3339.

    `resource`: `*` stands for any characters; without one, the text may stand anywhere in it.
    """

    agent: str = ""
    session: str = ""
    action_type: str = ""
    decision: str = ""
    resource: str = ""
    text: str = ""
    since: str = ""
    until: str = ""
    min_risk: float = 0.0

    def parameters(self) -> dict[str, Any]:
        """Values for `CONDITION`. Raises `ConfigurationError` for a time that is none."""
        return {
            "agent": self.agent,
            "session": self.session,
            "type": self.action_type,
            "decision": self.decision,
            "resource": _like(self.resource) if self.resource else "%",
            "text": self.text,
            "since": moment("--since", self.since) or LONG_AGO,
            "until": moment("--until", self.until) or FAR_AHEAD,
            "min_risk": self.min_risk,
        }


CONDITION = """
    ({agent:String} = '' OR agent_id = {agent:String})
    AND ({session:String} = '' OR session_id = {session:String})
    AND ({type:String} = '' OR toString(action_type) = {type:String})
    AND ({decision:String} = '' OR ifNull(toString(decision), '') = {decision:String})
    AND resource LIKE {resource:String}
    AND ({text:String} = '' OR position(resource, {text:String}) > 0 OR position(payload, {text:String}) > 0)
    AND ts >= {since:DateTime64(6, 'UTC')} AND ts <= {until:DateTime64(6, 'UTC')}
    AND ifNull(risk, 0) >= {min_risk:Float64}
"""

_COLUMNS = "ts, agent_id, action_type, resource, risk, decision, local_decision, outcome_status, reasons, action_id"
_SHOWN = f"SELECT {_COLUMNS} FROM actions WHERE {CONDITION} ORDER BY ts DESC LIMIT {{limit:UInt32}}"  # noqa: S608 - ours


def ask(store: Store, wanted: Wanted, limit: int) -> Result:
    """The actions with risk, decision and outcome, newest first."""
    return store.query(_SHOWN, {**wanted.parameters(), "limit": limit})


def ask_sql(store: Store, sql: str) -> Result:
    """One SELECT of the caller's, whatever the rights of the connection: it can change nothing, and not take all.

    Raises `ConfigurationError` for anything but a query, `StoreRejectedError` for what the server refuses.
    """
    inner = sql.strip().rstrip(";").strip()
    if not inner:
        raise ConfigurationError("--sql: empty; give one SELECT")
    # As a subquery nothing but a SELECT parses, and what it sets is overruled by what is set here.
    return store.query(
        f"SELECT * FROM (\n{inner}\n) LIMIT {SQL_ROWS} SETTINGS readonly = 2, max_execution_time = {SQL_SECONDS},"  # noqa: S608 - the caller's own SQL is what this is for
        f" max_result_rows = {SQL_ROWS}, max_result_bytes = {SQL_BYTES}, result_overflow_mode = 'throw'"
    )


def _like(pattern: str) -> str:
    """A pattern with `*` as one of LIKE, in which nothing else is special."""
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%") if "*" in pattern else f"%{escaped}%"
