"""What a worker counts and measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import Metric

from vaultak_streams.agents.status import WorkerStatus
from vaultak_streams.metrics.families import counter, counters_by, gauge, states
from vaultak_streams.metrics.histogram import Histogram
from vaultak_streams.records import Record

STATES = ("starting", "waiting", "restoring", "running", "stopped")


class WorkerMeter:
    """Durations of a worker; shared by the lives of its app."""

    def __init__(self) -> None:
        self.latency = Histogram()
        self.step = Histogram()

    def judged(self, records: Iterable[Record], now_ms: float) -> None:
        """A batch's results were handed to the producer."""
        observe = self.latency.observe
        for record in records:
            observe((now_ms - record.ts_ms) / 1000)

    def families(self, status: WorkerStatus) -> Iterable[Metric]:
        """Everything of a worker, as of now."""
        counters = dict(status.counters)
        yield states("vaultak_worker_state", "Which state the worker is in", STATES, status.state)
        yield gauge("vaultak_worker_partitions", "Partitions that this worker judges", len(status.partitions))
        yield gauge("vaultak_worker_agents", "Agents whose profile is in memory", status.agents)
        yield gauge("vaultak_worker_lag_records", "Records that wait in this worker's partitions", status.lag)
        yield counter("vaultak_worker_restarts", "Times that it started anew after an error", status.restarts)
        yield counter("vaultak_worker_records", "Records taken from the actions topic", counters.get("records", 0))
        yield counter("vaultak_worker_actions", "Actions judged", counters.get("actions", 0))
        for family, documentation in _BY_KIND.items():
            values = _of(counters, f"{family}.")
            yield counters_by(f"vaultak_worker_{family}", documentation, _LABELS[family], values)
        for name, documentation in _SINGLE.items():
            yield counter(f"vaultak_worker_{name.replace('.', '_')}", documentation, counters.get(name, 0))
        yield self.latency.family(
            "vaultak_worker_latency_seconds", "From an event's Kafka timestamp to its verdict handed to the producer"
        )
        yield self.step.family("vaultak_worker_step_seconds", "Judging one batch of one partition")


_BY_KIND = {
    "decisions": "Verdicts by decision",
    "commands": "Commands given by kind; `suppressed` ones were given before",
    "dead_letters": "Records that could not be judged, by reason",
}
_LABELS = {"decisions": "decision", "commands": "command", "dead_letters": "reason"}
_SINGLE = {
    "duplicates": "Events seen before",
    "redelivered": "Records that came again after a restart or a rebalance",
    "agents.forgotten": "Agents whose profile made room for others",
    "rates.forgotten": "Rates of policy rules that made room for others",
    "checkpoints": "Checkpoints committed",
}


def _of(counters: Mapping[str, int], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): n for name, n in sorted(counters.items()) if name.startswith(prefix)}
