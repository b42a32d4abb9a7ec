"""What the audit store says about the demo: nothing is told that was not read back from ClickHouse."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any, TypeVar

from vaultak_streams.demo.crew import DemoError
from vaultak_streams.store import queries
from vaultak_streams.store.client import Store

Row = dict[str, Any]
T = TypeVar("T")

POLL_S = 0.1


def wait_until(question: str, ask: Callable[[], T | None], timeout_s: float) -> T:
    """The first answer that is not `None`. Raises `DemoError` naming the question when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (answer := ask()) is not None:
            return answer
        time.sleep(POLL_S)
    raise DemoError(f"{question}: not within {timeout_s:.0f} s")


def moment(epoch_s: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(epoch_s, dt.UTC)


def rows(store: Store, sql: str, **parameters: object) -> list[Row]:
    return queries.sql_passthrough(store, sql, parameters).records()


def work_is_judged(store: Store, expected: dict[str, int]) -> list[Row] | None:
    """One row per agent once as many actions as each has reported have their verdicts; `None` until then."""
    found = rows(
        store,
        "SELECT agent_id, count() AS actions, countIf(decision IS NOT NULL) AS judged,"
        " max(baseline_events) AS baseline_events, round(max(risk), 3) AS max_risk"
        " FROM vaultak.actions GROUP BY agent_id ORDER BY agent_id",
    )
    judged = {row["agent_id"]: row["judged"] for row in found}
    return found if all(judged.get(agent, 0) >= actions for agent, actions in expected.items()) else None


def verdict_of(store: Store, action_id: str) -> Row | None:
    """An action with its verdict, once that is stored."""
    found = rows(
        store,
        "SELECT ts, action_id, action_type, resource, risk, decision, local_decision, factors, explanation, scored_ts"
        " FROM vaultak.actions WHERE action_id = {action:String} AND decision IS NOT NULL",
        action=action_id,
    )
    return found[0] if found else None


def acknowledged(store: Store, agent_id: str, command: str) -> Row | None:
    """The first command of that kind that the agent had something to do for, once its answer is stored."""
    found = rows(
        store,
        "SELECT c.ts AS ordered, a.ts AS answered, c.command AS command, c.reason AS reason, a.result AS result,"
        " a.detail AS detail, c.action_id AS action_id"
        " FROM vaultak.commands AS c INNER JOIN vaultak.acks AS a ON c.command_id = a.command_id"
        " WHERE c.agent_id = {agent:String} AND c.command = {command:String} AND a.detail != 'nothing to reverse'"
        " ORDER BY a.ts LIMIT 1",
        agent=agent_id,
        command=command,
    )
    return found[0] if found else None


def trail(store: Store, agent_id: str, after: float, limit: int) -> list[Row]:
    """The agent's actions since `after`, as the audit shows them."""
    return rows(
        store,
        "SELECT ts, action_type, resource, risk, local_decision, decision, outcome_status FROM vaultak.actions"
        " WHERE agent_id = {agent:String} AND ts >= {after:DateTime64(6, 'UTC')} ORDER BY ts LIMIT {limit:UInt32}",
        agent=agent_id,
        after=moment(after),
        limit=limit,
    )
