"""Somebody speaks in an agent's name without a key for it: an incident, once an hour for each agent."""

from __future__ import annotations

from collections import OrderedDict

from vaultak.wire import Decision, Incident, IncidentStatus, derived_uuid7, format_ts
from vaultak_streams.records import Record

MAX_AGENTS = 1000
"""Names that are remembered; whoever makes up more is told of again, under the same incident."""

MAX_NAME_CHARS = 256
EVERY_US = 3_600_000_000


class Impostors:
    """Of which agents it has been told lately."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, int] = OrderedDict()

    def told(self, record: Record, now_us: int | None) -> Incident | None:
        """What to tell of a record that nobody vouches for; `None` when that has been told."""
        at_us = record.ts_ms * 1000 if now_us is None else now_us
        agent_id = (record.key or b"").decode(errors="replace")[:MAX_NAME_CHARS] or "unknown"
        hour = at_us // EVERY_US
        if self._told.get(agent_id) == hour:
            return None
        self._told[agent_id] = hour
        if len(self._told) > MAX_AGENTS:
            self._told.popitem(last=False)
        return Incident(
            incident_id=derived_uuid7(hour * EVERY_US, "impostor", agent_id),
            agent_id=agent_id,
            session_id="unauthenticated",
            ts=format_ts(at_us / 1e6),
            status=IncidentStatus.OPENED,
            severity=Decision.ALERT.value,
            risk=1.0,
            title=f"somebody sends in the name of `{agent_id[:80]}`: {record.objection}"[:200],
        )
