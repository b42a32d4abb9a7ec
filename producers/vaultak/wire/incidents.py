"""Incidents: topic `vaultak.incidents`."""

from __future__ import annotations

import enum

from msgspec import Struct

from vaultak.wire.events import AgentId, Identifier, Timestamp, Unit


class IncidentStatus(enum.StrEnum):
    OPENED = "opened"
    UPDATED = "updated"
    CLOSED = "closed"


class Incident(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One story of something going wrong: opened by the first stopping verdict, updated by what belongs to it."""

    incident_id: Identifier
    agent_id: AgentId
    session_id: Identifier
    ts: Timestamp
    status: IncidentStatus
    severity: str
    """The most severe decision so far."""
    risk: Unit
    """The highest risk so far."""
    title: str
    action_ids: tuple[str, ...] = ()
    command_ids: tuple[str, ...] = ()
    closed_by: str = ""
    """Who closed it, by hand."""
    note: str = ""
    """Why, in their words."""
