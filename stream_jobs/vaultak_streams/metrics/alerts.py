"""What the alerts count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import Metric

from vaultak_streams.metrics.families import counter, counters_by, gauges_by, states

if TYPE_CHECKING:
    from vaultak_streams.alerts.service import AlertStatus

STATES = ("starting", "waiting", "running", "stopped")

_BY_DESTINATION = {
    "delivered": "Messages taken by a destination",
    "told": "Notices in the messages taken",
    "retried": "Attempts that failed and were repeated",
    "failed": "Messages given up",
    "dropped": "Notices that a full queue could not hold",
}


def families(status: AlertStatus) -> Iterable[Metric]:
    """Everything of the alerts, as of now."""
    yield states("vaultak_alerts_state", "Which state the alerts are in", STATES, status.state)
    yield counter("vaultak_alerts_records", "Messages read from the incidents topic", status.records)
    yield counter("vaultak_alerts_notices", "Notices that had to be told", status.notices)
    yield counter("vaultak_alerts_stale", "Incidents too old to be told when they were read", status.stale)
    yield counter("vaultak_alerts_undecodable", "Messages that are no incidents", status.undecodable)
    for name, documentation in _BY_DESTINATION.items():
        values = {one.destination: float(getattr(one, name)) for one in status.destinations}
        yield counters_by(f"vaultak_alerts_{name}", documentation, "destination", values)
    waiting = {one.destination: float(one.waiting) for one in status.destinations}
    yield gauges_by("vaultak_alerts_waiting", "Notices that wait for a destination", "destination", waiting)
