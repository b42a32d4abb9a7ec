"""Incidents: one story per agent and session, opened by the first stopping verdict and told on by what follows."""

from __future__ import annotations

import msgspec

from vaultak.wire import SEVERITY, Command, Decision, Incident, IncidentStatus, Verdict, derived_uuid7

MAX_IDS = 32
"""Action and command ids an incident carries: its beginning, which is what explains it."""

MAX_OPEN = 8
"""Sessions of one agent whose incident can still grow; the oldest is left as it stands."""

STOPPING = SEVERITY[Decision.PAUSE]


class OpenIncident(msgspec.Struct, array_like=True):
    """An incident as far as it is known."""

    incident_id: str
    session_id: str
    severity: str
    risk: float
    title: str
    action_ids: list[str]
    command_ids: list[str]


def find(incidents: list[OpenIncident], session_id: str) -> OpenIncident | None:
    return next((incident for incident in incidents if incident.session_id == session_id), None)


def open_incident(
    incidents: list[OpenIncident], verdict: Verdict, title: str, ts_us: int, identity: str
) -> OpenIncident:
    """Start the incident of a session; its id is the same whenever the same event is judged again."""
    incident = OpenIncident(
        incident_id=derived_uuid7(ts_us, "incident", verdict.agent_id, verdict.session_id, identity),
        session_id=verdict.session_id,
        severity=verdict.decision.value,
        risk=verdict.risk,
        title=title,
        action_ids=[],
        command_ids=[],
    )
    incidents.append(incident)
    del incidents[:-MAX_OPEN]
    return incident


def add(incident: OpenIncident, verdict: Verdict, commands: list[Command]) -> bool:
    """Add a verdict and its commands to an incident. Returns whether that changed what is told about it."""
    severer = SEVERITY[verdict.decision] > SEVERITY[Decision(incident.severity)]
    if severer:
        incident.severity = verdict.decision.value
    riskier = verdict.risk > incident.risk
    incident.risk = max(incident.risk, verdict.risk)
    actions = _append(incident.action_ids, [verdict.action_id])
    ordered = _append(incident.command_ids, [command.command_id for command in commands])
    return severer or riskier or actions or ordered


def _append(ids: list[str], more: list[str]) -> bool:
    new = [one for one in more if one not in ids][: MAX_IDS - len(ids)]
    ids.extend(new)
    return bool(new)


def message(incident: OpenIncident, agent_id: str, status: IncidentStatus, ts: str) -> Incident:
    return Incident(
        incident_id=incident.incident_id,
        agent_id=agent_id,
        session_id=incident.session_id,
        ts=ts,
        status=status,
        severity=incident.severity,
        risk=incident.risk,
        title=incident.title,
        action_ids=tuple(incident.action_ids),
        command_ids=tuple(incident.command_ids),
    )
