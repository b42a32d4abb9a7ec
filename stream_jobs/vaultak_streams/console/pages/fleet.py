"""The fleet: every agent at a glance, live."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vaultak_streams.console import queries
from vaultak_streams.console.charts import columns_of_minutes, spark
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.rendering import fragment, page
from vaultak_streams.incidents.grouping import group

INCIDENTS = 6
MINUTES = 60


def routes(desk: Desk) -> list[Route]:
    async def show(request: Request) -> Response:
        return page(request, "fleet.html", **await snapshot(desk))

    return [Route("/", show)]


async def snapshot(desk: Desk) -> dict[str, Any]:
    """What the page shows of this moment."""
    ask = desk.reader.ask
    agents, totals, minutes, incidents, waiting = await asyncio.gather(
        ask(queries.fleet),
        ask(queries.totals),
        ask(queries.fleet_minutes, MINUTES),
        ask(queries.open_incidents, 4 * INCIDENTS),
        ask(queries.waiting, INCIDENTS),
    )
    now = dt.datetime.now(dt.UTC)
    for agent in agents:
        agent["spark"] = spark(agent["risks"], MINUTES)
    return {
        "agents": agents,
        "totals": totals,
        "states": {s: sum(a["state"] == s for a in agents) for s in ("running", "paused", "killed")},
        "columns": columns_of_minutes(minutes, now, MINUTES),
        "cases": group(incidents)[:INCIDENTS],
        "waiting": waiting,
    }


async def live_fragment(desk: Desk) -> str:
    """The part of the page that changes."""
    return fragment("fleet_live.html", **await snapshot(desk))
