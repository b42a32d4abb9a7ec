"""Incidents: what needs somebody, and the story of each."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vaultak_streams.console import queries
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.rendering import page
from vaultak_streams.incidents.grouping import IncidentCase, group
from vaultak_streams.incidents.life import URGENT, Phase, phase
from vaultak_streams.incidents.story import tell

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

    return [Route("/incidents", listed), Route("/incident", one)]


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
