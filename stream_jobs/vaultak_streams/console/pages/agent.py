"""One agent: its state, risk over time, what is usual for it, and everything it did."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from vaultak.errors import ConfigurationError
from vaultak.wire.codec import UNREADABLE
from vaultak_streams.console import queries
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.rendering import fragment, page
from vaultak_streams.console.search_terms import Terms
from vaultak_streams.incidents.grouping import group
from vaultak_streams.store.queries import moment

PER_PAGE = 40
HABIT_DAYS = 7
MAX_ID_CHARS = 256

RANGES = {"1h": (1, 60), "6h": (6, 300), "24h": (24, 900), "7d": (168, 3600), "30d": (720, 14400)}
"""Of the chart: hours, and seconds a point."""


def routes(desk: Desk) -> list[Route]:
    ask = desk.reader.ask

    async def show(request: Request) -> Response:
        agent_id = _id(request, "id")
        only = request.query_params.get("only", "")
        agent, rows, habits, incidents, commands, waiting = await asyncio.gather(
            ask(queries.agent, agent_id),
            ask(queries.actions, _terms(agent_id, only), PER_PAGE),
            ask(queries.habits, agent_id, HABIT_DAYS),
            ask(queries.incidents_of, agent_id, 20),
            ask(queries.commands, 6, agent_id),
            ask(queries.waiting, 100),
        )
        if agent is None and not rows:
            raise HTTPException(404, "No agent of that name has acted")
        return page(
            request,
            "agent.html",
            agent=agent or _unjudged(agent_id),
            habits=habits,
            cases=group(incidents),
            commands=commands,
            waiting=[row for row in waiting if row["agent_id"] == agent_id],
            ranges=list(RANGES),
            **timeline(rows, agent_id, only),
        )

    async def more(request: Request) -> Response:
        agent_id, only = _id(request, "id"), request.query_params.get("only", "")
        try:
            before = moment("before", request.query_params.get("before"))
        except ConfigurationError as e:
            raise HTTPException(400, str(e)) from None
        rows = await ask(queries.actions, _terms(agent_id, only), PER_PAGE, before)
        return HTMLResponse(fragment("timeline.html", **timeline(rows, agent_id, only)))

    async def series(request: Request) -> Response:
        hours, step_s = RANGES.get(request.query_params.get("range", ""), RANGES["24h"])
        points = await ask(queries.agent_series, _id(request, "id"), hours, step_s)
        return JSONResponse(_columns(points, hours, step_s))

    async def one(request: Request) -> Response:
        agent_id, action_id = _id(request, "agent"), _id(request, "id")
        action = await ask(queries.action, agent_id, action_id)
        if action is None:
            raise HTTPException(404, "No such action is stored")
        return HTMLResponse(fragment("action.html", a=action, explained=explanation(action["explanation"])))

    return [
        Route("/agent", show),
        Route("/agent/timeline", more),
        Route("/agent/series", series),
        Route("/action", one),
    ]


def timeline(rows: list[queries.Record], agent_id: str, only: str = "") -> dict[str, Any]:
    """What `timeline.html` shows, and where the next part begins."""
    following = rows[-1]["ts"] if len(rows) >= PER_PAGE else None
    return {"rows": rows, "following": following, "agent_id": agent_id, "only": only, "many_agents": False}


def explanation(text: str) -> list[dict[str, Any]]:
    """The contributions to a risk, the largest first; of what another version wrote, what can be read."""
    try:
        found = msgspec.json.decode(text, type=list[_Contribution])
    except UNREADABLE:
        return []
    return [msgspec.to_builtins(one) for one in sorted(found, key=lambda one: -one.contribution)]


class _Contribution(msgspec.Struct):
    feature: str
    value: str = ""
    typical: str = ""
    contribution: float = 0.0


def _terms(agent_id: str, only: str) -> Terms:
    return Terms(
        agent=agent_id, decision="stopped" if only == "stopped" else "", min_risk=0.4 if only == "risky" else 0
    )


def _columns(points: list[queries.Record], hours: int, step_s: int) -> dict[str, list[Any]]:
    """Evenly spaced columns for the chart: seconds, highest risk (null without actions), actions, stopped."""
    by_time = {int(point["at"]): point for point in points}
    end = int(dt.datetime.now(dt.UTC).timestamp()) // step_s * step_s
    times = list(range(end - hours * 3600, end + 1, step_s))
    found = [by_time.get(at) for at in times]
    return {
        "at": times,
        "risk": [round(point["max_risk"], 4) if point else None for point in found],
        "actions": [int(point["actions"]) if point else 0 for point in found],
        "stopped": [int(point["stopped"]) if point else 0 for point in found],
    }


def _unjudged(agent_id: str) -> queries.Record:
    """An agent that has acted, and none of whose actions has been judged yet."""
    figures = dict.fromkeys(("actions", "stopped", "max_risk", "baseline_events"), 0)
    return {"agent_id": agent_id, "state": "running", "state_reason": "", "last_action": None, **figures}


def _id(request: Request, name: str) -> str:
    value = request.query_params.get(name, "")
    if not 0 < len(value) <= MAX_ID_CHARS:
        raise HTTPException(400, f"`{name}` is missing or too long")
    return value
