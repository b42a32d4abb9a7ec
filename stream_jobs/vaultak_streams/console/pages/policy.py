"""The policy: what is in force here, which versions judged, which rules matched."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vaultak.errors import PolicyError
from vaultak.policy import PolicySettings
from vaultak_streams.console import queries
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.rendering import page
from vaultak_streams.policy_files import load_policy

DAYS = 7


def routes(desk: Desk) -> list[Route]:
    async def show(request: Request) -> Response:
        ask = desk.reader.ask
        versions, models, hits, decisions = await asyncio.gather(
            ask(queries.policies),
            ask(queries.models),
            ask(queries.rule_hits, DAYS),
            ask(queries.decisions_by_policy, DAYS),
        )
        settings, problem = await asyncio.to_thread(_in_force, desk)
        return page(
            request,
            "policy.html",
            file=str(desk.settings.policy or ""),
            limits=_limits(settings) if settings else [],
            version=settings.version if settings else "",
            problem=problem,
            versions=[version | {"decisions": _shares(version["version"], decisions)} for version in versions],
            models=models,
            hits=hits,
            days=DAYS,
        )

    return [Route("/policy", show)]


def _in_force(desk: Desk) -> tuple[PolicySettings | None, str]:
    """What the worker's file says now, read as the worker reads it."""
    try:
        return load_policy(desk.settings.policy), ""
    except PolicyError as e:
        return None, str(e)


def _limits(settings: PolicySettings) -> list[tuple[str, str]]:
    return [(name, _shown(value)) for name, value in msgspec.to_builtins(settings).items()]


def _shown(value: Any) -> str:
    if value is None:
        return "no limit"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _shares(version: str, decisions: list[queries.Record]) -> list[tuple[str, int, float]]:
    """Each decision with its count and its share of that version's."""
    own = [(row["decision"], int(row["actions"])) for row in decisions if row["version"] == version]
    total = sum(count for _, count in own)
    return [(decision, count, count / total) for decision, count in own]
