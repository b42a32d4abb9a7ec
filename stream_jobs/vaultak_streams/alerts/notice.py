"""What people are told of an incident, and when: it opened, it got worse, it was closed. Nothing twice."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from vaultak.wire import Incident, IncidentStatus
from vaultak_streams.incidents.grouping import severity_rank

MAX_CASES = 10_000
"""Cases remembered. Beyond it the one that was silent longest is forgotten; it would be told of anew."""


class NoticeKind(enum.StrEnum):
    OPENED = "opened"
    ESCALATED = "escalated"
    CLOSED = "closed"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to tell."""

    kind: NoticeKind
    incident_id: str
    agent_id: str
    session_id: str
    severity: str
    risk: float
    title: str
    ts: str
    by: str = ""
    """Who closed it."""
    note: str = ""
    before: str = ""
    """The severity that was told last, where it rose."""


class Told(msgspec.Struct, array_like=True):
    """What was last told of a case."""

    severity: str
    closed: bool = False


class Cases:
    """What was told of each case (agent and session), so that a repeated message is not told again.

    A stream that is read again, and incidents that differ in their id alone, change nothing.
    """

    def __init__(self, least: str = "pause", known: Iterable[tuple[str, Told]] = ()) -> None:
        """`least`: the severity from which a case is worth telling."""
        self._least = severity_rank(least)
        self._told: dict[str, Told] = dict(known)

    def notice(self, incident: Incident) -> Notice | None:
        """What to tell because of this message; `None`: nothing new."""
        key = f"{incident.agent_id}\x1f{incident.session_id}"
        told = self._told.pop(key, None)
        kind = self._kind(incident, told)
        if kind is not None:
            self._told[key] = Told(incident.severity, kind is NoticeKind.CLOSED)
        elif told is not None:
            self._told[key] = told
        while len(self._told) > MAX_CASES:
            del self._told[next(iter(self._told))]
        return None if kind is None else _notice(kind, incident, told)

    def _kind(self, incident: Incident, told: Told | None) -> NoticeKind | None:
        if incident.status is IncidentStatus.CLOSED:
            return NoticeKind.CLOSED if told is not None and not told.closed else None
        rank = severity_rank(incident.severity)
        if rank < self._least:
            return None
        if told is None or told.closed:
            return NoticeKind.OPENED
        return NoticeKind.ESCALATED if rank > severity_rank(told.severity) else None

    def items(self) -> Iterable[tuple[str, Told]]:
        """What was told, the case that was silent longest first."""
        return self._told.items()

    def __len__(self) -> int:
        return len(self._told)


def _notice(kind: NoticeKind, incident: Incident, told: Told | None) -> Notice:
    return Notice(
        kind=kind,
        incident_id=incident.incident_id,
        agent_id=incident.agent_id,
        session_id=incident.session_id,
        severity=incident.severity,
        risk=incident.risk,
        title=incident.title.removeprefix(f"{incident.severity}: "),
        ts=incident.ts,
        by=incident.closed_by,
        note=incident.note,
        before=told.severity if kind is NoticeKind.ESCALATED and told is not None else "",
    )
