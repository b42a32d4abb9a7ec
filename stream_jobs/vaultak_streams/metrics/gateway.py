"""What the gateway counts and measures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import Metric

from vaultak_streams.metrics.families import counter, counters_by, gauge

if TYPE_CHECKING:
    from vaultak.publish.publisher import PublisherStats
    from vaultak_streams.gateway.intake import Intake

_COUNTS = {
    "actions": "Actions judged and recorded",
    "outcomes": "Outcomes recorded",
    "contexts": "Contexts recorded",
    "duplicates": "Actions whose id was seen before",
}


def families(intake: Intake, agents: int, forgotten: int, stats: PublisherStats) -> Iterable[Metric]:
    """Everything of a gateway, as of now."""
    counts = intake.counts
    for name, documentation in _COUNTS.items():
        yield counter(f"vaultak_gateway_{name}", documentation, getattr(counts, name))
    decisions, refused = dict(counts.decisions), dict(counts.refused)
    yield counters_by("vaultak_gateway_decisions", "Answers by decision, as they were given", "decision", decisions)
    yield counters_by("vaultak_gateway_refused", "Requests refused, by HTTP status", "status", refused)
    yield gauge("vaultak_gateway_agents", "Agents that act through this gateway", agents)
    yield counter("vaultak_gateway_agents_forgotten", "Agents that made room for others", forgotten)
    yield gauge("vaultak_gateway_waiting", "Requests that wait for a verdict or a command", intake.waiting)
    yield gauge("vaultak_gateway_pending_bytes", "Bytes that wait for the broker", stats.pending_bytes)
    dropped = stats.dropped_full + stats.dropped_too_large + stats.dropped_parked + stats.dropped_orphaned
    yield counter("vaultak_gateway_dropped", "Events dropped because the spool was full or the broker refused", dropped)
    yield intake.latency.family("vaultak_gateway_intake_seconds", "Judging and recording one request's events")
