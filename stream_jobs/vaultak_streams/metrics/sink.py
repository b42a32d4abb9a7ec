"""What the sink counts and measures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client.core import Metric

from vaultak_streams.metrics.families import counter, gauge, states
from vaultak_streams.metrics.histogram import Histogram

if TYPE_CHECKING:
    from vaultak_streams.sink.sink import SinkStats

STATES = ("starting", "waiting", "running", "stopped")

_COUNTS = {
    "records": "Records taken from all topics",
    "rows": "Rows stored",
    "batches": "Batches stored and committed",
    "undecodable": "Records that no table takes, kept as dead letters",
    "unstorable": "Rows that the store refuses, kept as dead letters",
    "store_retries": "Inserts tried again because the store was away",
    "anchors": "Anchors written",
    "anchor_errors": "Anchors that could not be written or published",
}


class SinkMeter:
    """Durations of a sink."""

    def __init__(self) -> None:
        self.latency = Histogram()
        self.insert = Histogram()

    def families(self, stats: SinkStats) -> Iterable[Metric]:
        """Everything of a sink, as of now."""
        yield states("vaultak_sink_state", "Which state the sink is in", STATES, stats.state)
        yield gauge("vaultak_sink_store_up", "1 while ClickHouse takes rows, else 0", float(stats.store_up))
        yield gauge("vaultak_sink_lag_records", "Records that wait to be stored", stats.lag)
        for name, documentation in _COUNTS.items():
            yield counter(f"vaultak_sink_{name}", documentation, getattr(stats, name))
        yield self.latency.family(
            "vaultak_sink_latency_seconds", "From the Kafka timestamp of a batch's last record to its commit"
        )
        yield self.insert.family("vaultak_sink_insert_seconds", "Storing one batch, all tables")
