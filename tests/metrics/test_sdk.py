"""What the SDK counts reaches the metrics library of the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from vaultak import Vaultak
from vaultak.config import Settings
from vaultak.metrics import readings, register_opentelemetry, register_prometheus


def value(name: str, **labels: str) -> float:
    return next(one.value for one in readings() if one.name == name and one.labels == labels)


@pytest.fixture
def acting(tmp_path: Path) -> Vaultak:
    """A client that has acted once, without a broker."""
    env = {"VAULTAK_DATA_DIR": str(tmp_path), "VAULTAK_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    return Vaultak(settings=Settings.from_env(env), state_timeout_s=0)


def test_events_agents_and_what_waits_are_counted(acting: Vaultak) -> None:
    emitted, agents = value("vaultak_sdk_emitted"), value("vaultak_sdk_agents", state="running")
    acting.log_action(agent_id="counted", action_type="tool_call", resource="tool:x")
    assert value("vaultak_sdk_emitted") == emitted + 1
    assert value("vaultak_sdk_agents", state="running") == agents + 1
    assert value("vaultak_sdk_pending_bytes") > 0
    assert value("vaultak_sdk_unrecorded") == 0
    acting.close(0)
    assert value("vaultak_sdk_agents", state="running") == agents


def test_they_show_in_a_prometheus_registry(acting: Vaultak) -> None:
    acting.log_action(agent_id="counted", action_type="tool_call", resource="tool:x")
    registry = CollectorRegistry()
    take_back = register_prometheus(registry)
    assert (registry.get_sample_value("vaultak_sdk_emitted_total") or 0) >= 1
    assert (registry.get_sample_value("vaultak_sdk_agents", {"state": "running"}) or 0) >= 1
    take_back()
    assert registry.get_sample_value("vaultak_sdk_emitted_total") is None
    acting.close(0)


def test_they_show_with_an_opentelemetry_meter(acting: Vaultak) -> None:
    acting.log_action(agent_id="counted", action_type="tool_call", resource="tool:x")
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    register_opentelemetry(provider.get_meter("vaultak"))
    data = reader.get_metrics_data()
    assert data is not None
    metrics = {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert metrics["vaultak.sdk.emitted"].data.data_points[0].value >= 1
    assert {p.attributes["state"] for p in metrics["vaultak.sdk.agents"].data.data_points} >= {"running", "paused"}
    provider.shutdown()
    acting.close(0)


def test_the_sdk_does_not_need_either_library() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = sys.modules['opentelemetry'] = None\n"
        "import vaultak.metrics; print(len(list(vaultak.metrics.readings())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 10
