"""From the counts that a process keeps to metric families. The names are documented in docs/telemetry.md, by test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Families = Callable[[], Iterable[Metric]]


class Reading(Collector):
    """Collects what a function gives at the moment of a scrape."""

    def __init__(self, families: Families) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()

    def describe(self) -> Iterable[Metric]:
        return []  # nothing is read before the first scrape


def counter(name: str, documentation: str, value: float) -> Metric:
    """A count since the start of the process; `_total` is appended to the name."""
    return CounterMetricFamily(name, documentation, value=value)


def gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def counters_by(name: str, documentation: str, label: str, values: Mapping[str, float]) -> Metric:
    """One count for each value of a label."""
    family = CounterMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def gauges_by(name: str, documentation: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def states(name: str, documentation: str, known: Iterable[str], now: str) -> Metric:
    """1 for the state that the process is in, 0 for the others."""
    return gauges_by(name, documentation, "state", {state: float(state == now) for state in known})
