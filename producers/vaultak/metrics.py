"""What the SDK counts in this process, for whatever the program uses for its metrics.

`readings()` gives the figures; `register_prometheus` and `register_opentelemetry` hand them to those libraries, which
the program brings along. Nothing is counted for this alone: an action pays nothing.

Counts are since the start of the process (of the child, after a fork) and of all clients that are open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from vaultak.agent import living_agents
from vaultak.wire import AgentState

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric


class Reading(NamedTuple):
    """One figure. `name` has no suffix; a `counter` only rises while its client is open."""

    name: str
    kind: Literal["counter", "gauge"]
    documentation: str
    value: float
    labels: dict[str, str] = {}  # noqa: RUF012 - never written to


_COUNTS = {
    "emitted": "Events handed to the publisher",
    "delivered": "Events acknowledged by the broker",
    "adopted": "Events delivered for processes that died before they could",
    "dropped_full": "Events dropped because the spool was full",
    "dropped_too_large": "Events dropped because the broker takes none so large",
    "dropped_parked": "Events dropped because too many topics failed",
    "dropped_orphaned": "Events of dead processes dropped because all spools took too much disk",
    "corrupt": "Damaged stretches of spools that were passed over",
    "retries": "Deliveries tried again",
}
_GAUGES = {
    "pending_bytes": "Bytes that wait to be delivered",
    "parked_bytes": "Part of them that waits for topics that are missing or forbidden",
    "durable": "1 while events wait on disk, 0 while they wait in memory",
    "connected": "1 while the broker is connected",
}


def readings() -> Iterator[Reading]:
    """The figures of this moment. Never raises."""
    from vaultak.publish.publisher import living_publishers

    stats = [publisher.stats for publisher in living_publishers()]
    for name, documentation in _COUNTS.items():
        yield Reading(f"vaultak_sdk_{name}", "counter", documentation, sum(getattr(one, name) for one in stats))
    for name, documentation in _GAUGES.items():
        values = [getattr(one, name) for one in stats]
        value = min(values, default=0) if name in ("durable", "connected") else sum(values)
        yield Reading(f"vaultak_sdk_{name}", "gauge", documentation, float(value))
    living = living_agents()
    unrecorded = sum(agent.unrecorded for agent in living)
    yield Reading("vaultak_sdk_unrecorded", "counter", "Events lost to an error of the SDK's own", unrecorded)
    agents = Counter(agent.state for agent in living)
    for state in AgentState:
        labels = {"state": state.value}
        yield Reading("vaultak_sdk_agents", "gauge", "Agents of this process by state", agents[state], labels)


def register_prometheus(registry: CollectorRegistry | None = None) -> Callable[[], None]:
    """Show the figures in a registry (default: the library's). Returns how to take them back.

    Needs `prometheus_client`. Raises `ValueError` when they are there already.
    """
    from prometheus_client import REGISTRY
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    class Figures:
        def collect(self) -> Iterable[Metric]:
            families: dict[str, Any] = {}
            for one in readings():
                if one.name not in families:
                    family = CounterMetricFamily if one.kind == "counter" else GaugeMetricFamily
                    families[one.name] = family(one.name, one.documentation, labels=list(one.labels))
                families[one.name].add_metric(list(one.labels.values()), one.value)
            return families.values()

    figures: Any = Figures()
    chosen = registry or REGISTRY
    chosen.register(figures)
    return lambda: chosen.unregister(figures)


def register_opentelemetry(meter: Meter) -> None:
    """Observe the figures with a meter of the program's: `register_opentelemetry(metrics.get_meter("vaultak"))`.

    Needs `opentelemetry-api`. Names have dots: `vaultak.sdk.emitted`.
    """
    from opentelemetry.metrics import Observation

    def observing(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _options: [Observation(one.value, one.labels) for one in readings() if one.name == name]

    for name, one in {one.name: one for one in readings()}.items():
        dotted = name.replace("vaultak_sdk_", "vaultak.sdk.")
        create = meter.create_observable_counter if one.kind == "counter" else meter.create_observable_gauge
        create(dotted, [observing(name)], description=one.documentation)
