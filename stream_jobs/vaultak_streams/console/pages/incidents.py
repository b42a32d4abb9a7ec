"""Incidents: what needs somebody, and the story of each."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from vaultak_streams.console import queries
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.forms import own_form
from vaultak_streams.console.operators import Role
from vaultak_streams.console.rendering import page
from vaultak_streams.incidents import closing
from vaultak_streams.incidents.grouping import IncidentCase, group
from vaultak_streams.incidents.life import URGENT, Phase, phase
from vaultak_streams.incidents.story import tell
from vaultak_streams.operate import BrokerUnavailableError

log = structlog.get_logger("vaultak.console")

LISTED = 300
TOLD_ACTIONS = 120
"""Of an incident's session: its stopped and risky actions, the newest so many."""


def routes(desk: Desk) -> list[Route]:
    ask = desk.reader.ask

    async def listed(request: Request) -> Response:
        rows, waiting, states = await asyncio.gather(
            ask(queries.incidents, LISTED), ask(queries.waiting, 200), ask(queries.states)
        )
        cases = group(rows)
        commands = await ask(queries.commands_about, [case.agent_id for case in cases], _every(cases, "incident_ids"))
        acks = await ask(queries.acks_of, [command["command_id"] for command in commands])
        commands = with_results(commands, acks)
        now = dt.datetime.now(dt.UTC)
        shown = [
            (case, phase(case, held=_held(case, waiting), agent_state=states.get(case.agent_id, "running"),
                         commands=[c for c in commands if c["incident_id"] in case.incident_ids], now=now))
            for case in cases
        ]  # fmt: skip
        order = {one: rank for rank, one in enumerate(Phase)}
        shown.sort(key=lambda pair: order[pair[1]])
        return page(
            request,
            "incidents.html",
            just_closed=request.query_params.get("closed") == "1",
            urgent=[pair for pair in shown if pair[1] in URGENT],
            others=[pair for pair in shown if pair[1] not in URGENT],
        )

    async def one(request: Request) -> Response:
        incident_id = request.query_params.get("id", "")[:256]
        rows = await ask(queries.incident, incident_id)
        if not rows:
            raise HTTPException(404, "No such incident is stored")
        case = group(rows)[0]
        actions, commands, waiting, states = await asyncio.gather(
            ask(queries.actions_of_case, case.agent_id, case.session_id, case.action_ids, TOLD_ACTIONS),
            ask(queries.commands_about, [case.agent_id], case.incident_ids, case.command_ids),
            ask(queries.waiting, 200),
            ask(queries.states),
        )
        acks = await ask(queries.acks_of, [command["command_id"] for command in commands])
        commands = with_results(commands, acks)
        held = [row for row in waiting if _belongs(row, case)]
        stands = phase(
            case, held=bool(held), agent_state=states.get(case.agent_id, "running"), commands=commands,
            now=dt.datetime.now(dt.UTC),
        )  # fmt: skip
        return page(
            request,
            "incident.html",
            case=case,
            phase=stands,
            state=states.get(case.agent_id, "running"),
            story=tell(actions, commands, acks),
            why=_why(actions),
            actions=actions,
            commands=commands,
            held=held,
        )

    async def close(request: Request) -> Response:
        """Close the case; its incidents are read again, so that what is told of them is what is stored."""
        operator = request.state.operator
        form = await own_form(request)
        if not operator.role.covers(Role.OPERATOR):
            raise HTTPException(403, f"a {operator.role} may not do this; it takes an {Role.OPERATOR}")
        rows = await ask(queries.incident, str(form.get("id", ""))[:256])
        if not rows:
            raise HTTPException(404, "No such incident is stored")
        try:
            await closing.close(desk.settings, rows, operator.issuer, str(form.get("note", "")).strip())
        except BrokerUnavailableError as e:
            raise HTTPException(503, f"Nothing was closed: {e}") from None
        log.info("closed an incident", operator=operator.name, incident=rows[0]["incident_id"])
        return RedirectResponse("/incidents?closed=1", 303)

    return [
        Route("/incidents", listed),
        Route("/incident", one),
        Route("/incident/close", close, methods=["POST"]),
    ]


def with_results(commands: list[queries.Record], acks: list[queries.Record]) -> list[queries.Record]:
    """Each command with the acknowledgements' results."""
    results: dict[str, list[str]] = {}
    for ack in acks:
        results.setdefault(ack["command_id"], []).append(ack["result"])
    return [command | {"results": results.get(command["command_id"], [])} for command in commands]


def _why(actions: list[queries.Record]) -> list[tuple[str, int]]:
    """The reasons given, the most frequent first, each with how many actions it stopped."""
    counts: dict[str, int] = {}
    for action in actions:
        for reason in action["reasons"]:
            counts[reason] = counts.get(reason, 0) + 1
    return sorted(counts.items(), key=lambda pair: -pair[1])[:6]


def _held(case: IncidentCase, waiting: Sequence[queries.Record]) -> bool:
    return any(_belongs(row, case) for row in waiting)


def _belongs(row: queries.Record, case: IncidentCase) -> bool:
    return bool(row["agent_id"] == case.agent_id and row["session_id"] == case.session_id)


def _every(cases: list[IncidentCase], name: str) -> list[str]:
    return [one for case in cases for one in getattr(case, name)]
