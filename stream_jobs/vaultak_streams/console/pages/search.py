"""Search: actions by terms and text; agents, incidents and commands by text."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from vaultak.errors import ConfigurationError
from vaultak_streams.console import queries
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.rendering import fragment, page
from vaultak_streams.console.search_terms import MAX_CHARS, parse
from vaultak_streams.incidents.grouping import group
from vaultak_streams.store.queries import moment

PER_PAGE = 50
OTHERS = 5
"""Agents, incidents and commands that are shown above the actions, of each kind."""


def routes(desk: Desk) -> list[Route]:
    ask = desk.reader.ask

    async def show(request: Request) -> Response:
        query = request.query_params.get("q", "")[:MAX_CHARS]
        terms = parse(query)
        others = bool(terms.text) and terms.only_text
        rows, agents, incidents, commands = await asyncio.gather(
            ask(queries.actions, terms, PER_PAGE),
            ask(queries.matching_agents, terms.text, OTHERS if others else 0),
            ask(queries.matching_incidents, terms.text, 4 * OTHERS if others else 0),
            ask(queries.commands, OTHERS if others else 0, "", terms.text),
        )
        return page(
            request,
            "search.html",
            query=query,
            terms=terms,
            agents=agents,
            cases=group(incidents)[:OTHERS],
            commands=commands,
            **_found(rows, query),
        )

    async def more(request: Request) -> Response:
        query = request.query_params.get("q", "")[:MAX_CHARS]
        try:
            before = moment("before", request.query_params.get("before"))
        except ConfigurationError as e:
            raise HTTPException(400, str(e)) from None
        rows = await ask(queries.actions, parse(query), PER_PAGE, before)
        return HTMLResponse(fragment("timeline.html", **_found(rows, query)))

    return [Route("/search", show), Route("/search/more", more)]


def _found(rows: list[queries.Record], query: str) -> dict[str, Any]:
    following = rows[-1]["ts"] if len(rows) >= PER_PAGE else None
    return {"rows": rows, "following": following, "many_agents": True, "found_by": query}
