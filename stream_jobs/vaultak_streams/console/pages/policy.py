"""The policy: what is in force here, which versions judged, which rules matched, what the last back-test found."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vaultak.errors import PolicyError
from vaultak.policy import PolicySettings
from vaultak.policy.rules.tree import Scope
from vaultak_streams.backtest import last_backtest
from vaultak_streams.console import queries
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.rendering import page
from vaultak_streams.policy_files import load_policy

DAYS = 7

MAX_RULES = 500
MAX_CHANGES = 12
"""Of the last back-test."""


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
        tried = await asyncio.to_thread(last_backtest, desk.settings.data_dir)
        return page(
            request,
            "policy.html",
            file=str(desk.settings.policy or ""),
            limits=_limits(settings) if settings else [],
            version=settings.version if settings else "",
            problem=problem,
            versions=[version | {"decisions": _shares(version["version"], decisions)} for version in versions],
            models=models,
            rules=_rules(settings, hits),
            days=DAYS,
            tried=tried,
            changes=tried.report.changes[:MAX_CHANGES] if tried else (),
        )

    return [Route("/policy", show)]


def _in_force(desk: Desk) -> tuple[PolicySettings | None, str]:
    """What the worker's file says now, read as the worker reads it."""
    try:
        return load_policy(desk.settings.policy), ""
    except PolicyError as e:
        return None, str(e)


def _limits(settings: PolicySettings) -> list[tuple[str, str]]:
    members = msgspec.to_builtins(settings)
    return [(name, _shown(value)) for name, value in members.items() if name != "rules"]


def _rules(settings: PolicySettings | None, hits: list[queries.Record]) -> list[dict[str, Any]]:
    """The rules in force and those that matched, the most frequent first, then those that never did."""
    found = {row["rule"]: _UNKNOWN | row for row in hits}
    in_force = settings.rules.rules if settings and settings.rules else ()
    for rule in in_force:
        row = found.setdefault(rule.id, {**_NEVER, "rule": rule.id})
        row |= {
            "title": rule.title,
            "enforce": rule.enforce.value,
            "mode": rule.mode.value,
            "scope": _scope(rule.scope),
        }
    return sorted(found.values(), key=lambda row: (-row["hits"], row["rule"]))[:MAX_RULES]


_NEVER: dict[str, Any] = {"hits": 0, "agents": 0, "last_hit": None, "mostly": None}
_UNKNOWN: dict[str, Any] = {"title": "", "enforce": "", "mode": "", "scope": ""}


def _scope(scope: Scope) -> str:
    """Whom a rule is for, in words."""
    labels = [f"{name}={value}" for name, value in scope.labels.items()]
    return ", ".join([*scope.agents, *scope.roles, *labels]) or "everybody"


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
