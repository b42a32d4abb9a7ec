"""One case per agent and session, however many incidents its stream made of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from vaultak.wire import SEVERITY, Decision, IncidentStatus


class IncidentCase(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent did in one session that had to be stopped. `incident_id` is the newest incident's."""

    incident_id: str
    agent_id: str
    session_id: str
    title: str
    severity: str
    risk: float
    updated: dt.datetime
    closed: bool
    closed_by: str = ""
    note: str = ""
    incident_ids: tuple[str, ...]
    action_ids: tuple[str, ...]
    command_ids: tuple[str, ...]


def group(rows: Iterable[Mapping[str, Any]]) -> list[IncidentCase]:
    """Cases from rows of the `incidents` view, the last changed first.

    Of the incidents of a case, the newest gives status and id, the severest its title; risk is the highest, ids are
    united in order, each once.
    """
    members: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        members.setdefault((row["agent_id"], row["session_id"]), []).append(row)
    cases = [_case(sorted(incidents, key=lambda row: row["ts"])) for incidents in members.values()]
    return sorted(cases, key=lambda case: case.updated, reverse=True)


def _case(incidents: list[Mapping[str, Any]]) -> IncidentCase:
    newest, severest = incidents[-1], max(incidents, key=lambda row: severity_rank(row["severity"]))
    return IncidentCase(
        incident_id=newest["incident_id"],
        agent_id=newest["agent_id"],
        session_id=newest["session_id"],
        title=title_of(severest),
        severity=severest["severity"],
        risk=max(row["risk"] for row in incidents),
        updated=newest["ts"],
        closed=newest["status"] == IncidentStatus.CLOSED,
        closed_by=newest["closed_by"],
        note=newest["note"],
        incident_ids=_united(incidents, "incident_id"),
        action_ids=_united(incidents, "action_ids"),
        command_ids=_united(incidents, "command_ids"),
    )


def title_of(row: Mapping[str, Any]) -> str:
    """The title without its severity, which is shown beside it."""
    return str(row["title"]).removeprefix(f"{row['severity']}: ")


def severity_rank(severity: str) -> int:
    """0 for a decision that this version does not know."""
    return SEVERITY[Decision(severity)] if severity in set(Decision) else 0


def _united(incidents: list[Mapping[str, Any]], name: str) -> tuple[str, ...]:
    values = [row[name] if isinstance(row[name], list | tuple) else [row[name]] for row in incidents]
    return tuple(dict.fromkeys(one for several in values for one in several))
