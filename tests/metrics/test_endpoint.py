"""Metrics, health and readiness over HTTP, as Prometheus and an orchestrator ask for them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from vaultak.errors import ConfigurationError
from vaultak_streams.agents.status import WorkerStatus
from vaultak_streams.alerts.lane import LaneStatus
from vaultak_streams.alerts.service import AlertStatus
from vaultak_streams.cli.app import main
from vaultak_streams.gateway.intake import Counts
from vaultak_streams.metrics import alerts, gateway
from vaultak_streams.metrics.endpoint import SILENT_S, Endpoint, Health
from vaultak_streams.metrics.histogram import SECONDS, Histogram
from vaultak_streams.metrics.options import MetricsAddress
from vaultak_streams.metrics.sink import SinkMeter
from vaultak_streams.metrics.worker import WorkerMeter
from vaultak_streams.records import Record
from vaultak_streams.sink.sink import SinkStats

ANY_PORT = MetricsAddress("127.0.0.1", 0)


def ask(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def samples(text: str) -> dict[str, float]:
    """By name and labels: `name{label="value"}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sample.labels.items())
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


class Process:
    """What an endpoint asks of a process, settable."""

    def __init__(self) -> None:
        self.wrong, self.silent_s = "", 0.0
        self.health = Health(lambda: self.wrong, lambda: self.silent_s)


@pytest.fixture
def process() -> Process:
    return Process()


def worker_families() -> Iterator[Metric]:
    status = WorkerStatus(name="worker-0", state="running", lag=7, agents=3, partitions=[0, 1])
    status.count({"records": 10, "actions": 9, "decisions.block": 2, "dead_letters.malformed": 1})
    meter = WorkerMeter()
    meter.judged([Record("t", 0, n, None, b"", 1_000) for n in range(4)], 1_020.0)
    yield from meter.families(status)


def test_a_scrape_gives_counts_gauges_and_histograms(process: Process, tmp_path: Path) -> None:
    with Endpoint("worker-0", ANY_PORT, worker_families, process.health, tmp_path) as endpoint:
        status, text = ask(endpoint.address, "/metrics")
        found = samples(text)
        assert status == 200
        assert found["vaultak_worker_records_total"] == 10
        assert found['vaultak_worker_decisions_total{decision="block"}'] == 2
        assert found['vaultak_worker_dead_letters_total{reason="malformed"}'] == 1
        assert found["vaultak_worker_lag_records"] == 7
        assert found['vaultak_worker_state{state="running"}'] == 1
        assert found['vaultak_worker_latency_seconds_bucket{le="0.01"}'] == 0
        assert found['vaultak_worker_latency_seconds_bucket{le="0.025"}'] == 4
        assert found["vaultak_worker_latency_seconds_sum"] == pytest.approx(0.08)
        assert found["process_resident_memory_bytes"] > 0
        assert json.loads((tmp_path / "worker-0.json").read_text())[0]["targets"] == [endpoint.address]
    assert not (tmp_path / "worker-0.json").exists()


def test_openmetrics_is_given_to_who_asks_for_it(process: Process) -> None:
    with Endpoint("w", ANY_PORT, worker_families, process.health) as endpoint:
        request = urllib.request.Request(
            f"http://{endpoint.address}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            assert answer.read().endswith(b"# EOF\n")


def test_ready_while_it_works_alive_while_its_loop_moves(process: Process) -> None:
    with Endpoint("w", ANY_PORT, list, process.health) as endpoint:
        assert ask(endpoint.address, "/healthz") == ask(endpoint.address, "/readyz") == (200, "ok\n")
        process.wrong = "waiting\nfor the broker"
        assert ask(endpoint.address, "/readyz") == (503, "waiting for the broker\n")
        assert ask(endpoint.address, "/healthz")[0] == 200
        process.silent_s = SILENT_S + 1
        assert ask(endpoint.address, "/healthz") == (503, "silent for 61 s\n")
        assert ask(endpoint.address, "/anything")[0] == 404


def test_processes_that_share_a_setting_take_the_next_free_port(process: Process) -> None:
    with Endpoint("a", ANY_PORT, list, process.health) as first:
        wanted = MetricsAddress("127.0.0.1", int(first.address.rpartition(":")[2]))
        with Endpoint("b", wanted, list, process.health) as second:
            assert second.address != first.address
            assert ask(second.address, "/healthz")[0] == 200


@pytest.mark.parametrize("text", ["9464", "host:", "host:http", ":9464", "host:70000"])
def test_a_wrong_address_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="VAULTAK_METRICS"):
        MetricsAddress.from_env({"VAULTAK_METRICS": text})


def test_nothing_listens_unless_it_is_wanted() -> None:
    assert MetricsAddress.from_env({}) is MetricsAddress.from_env({"VAULTAK_METRICS": "off"}) is None


@given(st.lists(st.floats(min_value=-1, max_value=1e4)))
def test_a_histogram_counts_each_value_once_in_its_bucket(values: list[float]) -> None:
    histogram = Histogram()
    histogram.observe_all(values)
    buckets = {s.labels["le"]: s.value for s in histogram.family("x", "x").samples if s.name == "x_bucket"}
    assert buckets["+Inf"] == len(values)
    for bound in SECONDS:
        assert buckets[str(bound)] == sum(value <= bound for value in values)


def gateway_families() -> Any:
    stats = Mock(pending_bytes=0, dropped_full=0, dropped_too_large=0, dropped_parked=0, dropped_orphaned=0)
    return gateway.families(Mock(counts=Counts(), latency=Histogram(), waiting=0), 1, 0, stats)


def test_every_metric_is_documented() -> None:
    from vaultak.metrics import readings

    status = AlertStatus(destinations=[LaneStatus(destination="1 slack://")])
    families: list[Any] = [
        *worker_families(),
        *SinkMeter().families(SinkStats()),
        *alerts.families(status),
        *gateway_families(),
    ]
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    names |= {one.name + ("_total" if one.kind == "counter" else "") for one in readings()}
    documented = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()
    assert {name for name in names if f"`{name}`" not in documented} == set()


def test_the_command_shows_where_they_are_and_what_is_not_ready(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAULTAK_DATA_DIR", str(tmp_path))
    assert main(["metrics"]) == 1
    with Endpoint("worker-0", ANY_PORT, worker_families, process.health, tmp_path / "metrics") as endpoint:
        capsys.readouterr()
        assert main(["metrics", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["targets"] == [endpoint.address]
        assert main(["metrics", "--show"]) == 0
        assert 'vaultak_worker_decisions_total{decision="block"} 2.0' in capsys.readouterr().out
        process.wrong = "waiting"
        assert main(["metrics"]) == 1
        assert "waiting" in capsys.readouterr().out
