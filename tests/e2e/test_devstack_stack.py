"""`Stack`: everything starts, is kept running, stops, and leaves nothing behind; a second one says what runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultak.config import Settings
from vaultak.errors import ConfigurationError
from vaultak.wire import Topics
from vaultak_devstack.backends import Ports
from vaultak_devstack.broker import Broker
from vaultak_devstack.clickhouse_server import ClickHouseServer
from vaultak_devstack.errors import DevstackError, PortInUseError
from vaultak_devstack.kafka_probe import answers
from vaultak_devstack.lockfile import StackLock, StackRunsError, StackState
from vaultak_devstack.restart import Backoff
from vaultak_devstack.stack import Stack
from vaultak_devstack.supervised import ChildSpec

FREE = Ports(broker=0, clickhouse_http=0, clickhouse_tcp=0)

# A child as worker and sink are: it notes what it was given, says that it is ready, and obeys SIGTERM.
WORKER = textwrap.dedent("""
    import json, os, pathlib, signal, sys, time
    out = pathlib.Path(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: (out.with_suffix(".ended").touch(), sys.exit(0)))
    out.write_text(json.dumps({k: v for k, v in os.environ.items() if k.startswith("VAULTAK_")}))
    while True:
        time.sleep(0.05)
""")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAULTAK_BOOTSTRAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS", "VAULTAK_CLICKHOUSE_DSN", "CLICKHOUSE_URL"):
        monkeypatch.delenv(name, raising=False)


def _settings(directory: Path, **env: str) -> Settings:
    return Settings.from_env({"VAULTAK_DATA_DIR": str(directory), **env})


def _worker(directory: Path, name: str = "worker") -> ChildSpec:
    out = directory / f"{name}.json"
    return ChildSpec(name=name, command=(sys.executable, "-c", WORKER, str(out)), ready_file=out)


@pytest.mark.stack
def test_everything_starts_children_find_it_and_all_stops(tmp_path: Path) -> None:
    data = tmp_path / "data"
    migrated: list[str] = []
    stack = Stack(_settings(data), children=[_worker(tmp_path)], ports=FREE, migrate=migrated.append)
    began = time.monotonic()
    with stack:
        stack.wait_ready(20)
        assert time.monotonic() - began < 10
        given = json.loads((tmp_path / "worker.json").read_text())
        assert given["VAULTAK_BOOTSTRAP_SERVERS"] == stack.broker.bootstrap_servers
        assert given["VAULTAK_CLICKHOUSE_DSN"] == stack.clickhouse_dsn("writer")
        assert given["VAULTAK_DATA_DIR"] == str(data)
        assert given["VAULTAK_BROKER"] == "embedded"
        assert migrated == [stack.clickhouse_dsn("admin")]
        assert stack.topics is not None
        assert len(stack.topics.created) == len(Topics("vaultak").all())
        state = StackState.load(data)
        assert state == stack.state()
        assert set(state.pids) == {"broker", "clickhouse", "worker"}
        assert state.clickhouse_dsn.startswith("clickhouse://viewer:")
        assert (data / "keys" / "control.key").exists()
        pids = [*state.pids.values()]
    assert (tmp_path / "worker.ended").exists()
    assert not [pid for pid in pids if _alive(pid)]
    assert StackState.load(data) is None
    stack.stop()


@pytest.mark.stack
def test_nothing_of_it_listens_beyond_loopback(tmp_path: Path) -> None:
    with Stack(_settings(tmp_path), ports=FREE) as stack:
        assert isinstance(stack.clickhouse, ClickHouseServer)
        ports = {int(stack.broker.bootstrap_servers.rpartition(":")[2]), stack.clickhouse.http_port}
        for port in ports:
            with socket.socket() as s:
                s.settimeout(1)
                assert s.connect_ex(("127.0.0.2", port)) != 0


@pytest.mark.stack
def test_a_second_stack_says_what_already_runs(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    with Stack(settings, ports=FREE) as first:
        with pytest.raises(StackRunsError) as refused:
            Stack(settings, ports=FREE).start()
        assert f"pid {os.getpid()}" in str(refused.value)
        assert first.broker.bootstrap_servers in str(refused.value)
        assert refused.value.state == first.state()
        assert answers("127.0.0.1", int(first.broker.bootstrap_servers.rpartition(":")[2]))


@pytest.mark.stack
def test_a_child_that_crashes_is_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    with Stack(_settings(tmp_path / "d"), children=[_worker(tmp_path)], ports=FREE, report=said.append) as stack:
        stack.wait_ready(20)
        first = stack.health()[0].pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        _eventually(lambda: stack.health()[0].pid not in (None, first))
        stack.wait_ready(20)
        assert stack.health()[0].restarts == 1
        assert any("worker was killed by signal 9" in line for line in said)
        _eventually(lambda: _recorded(tmp_path / "d", "worker") == stack.health()[0].pid)


@pytest.mark.stack
def test_a_wrong_configuration_ends_the_stack_with_the_childs_own_words(tmp_path: Path) -> None:
    words = "VAULTAK_POLICY: no such file"
    script = f"import sys; sys.stderr.write({words!r}); sys.exit(2)"
    child = ChildSpec(name="worker", command=(sys.executable, "-c", script))
    with Stack(_settings(tmp_path), children=[child], ports=FREE) as stack:
        assert stack.wait(20)
        assert stack.failure == f"worker ended with code 2: {words}"
        with pytest.raises(DevstackError, match="VAULTAK_POLICY"):
            stack.wait_ready()


@pytest.mark.stack
def test_a_broker_or_clickhouse_that_dies_comes_back_where_it_was(tmp_path: Path) -> None:
    said: list[str] = []
    with Stack(_settings(tmp_path / "d"), children=[_worker(tmp_path)], ports=FREE, report=said.append) as stack:
        stack.wait_ready(20)
        assert isinstance(stack.clickhouse, ClickHouseServer)
        stack.clickhouse.execute("CREATE TABLE vaultak.t (a UInt8) ENGINE = MergeTree ORDER BY a")
        before, worker = stack.state(), stack.health()[0].pid
        for part in ("broker", "clickhouse"):
            os.kill(before.pids[part], signal.SIGKILL)
        _eventually(lambda: {"broker", "clickhouse"} <= set(stack.state().pids) and stack.health()[0].pid != worker, 20)
        stack.wait_ready(20)
        after = stack.state()
        assert (after.bootstrap_servers, after.clickhouse_dsn) == (before.bootstrap_servers, before.clickhouse_dsn)
        _eventually(lambda: stack.state().pids["broker"] != before.pids["broker"])
        assert stack.clickhouse.execute("EXISTS vaultak.t") == "1\n"
        assert any("keeps nothing on disk" in line for line in said)


@pytest.mark.stack
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_signal_to_the_supervisor_leaves_anything_behind(tmp_path: Path, number: signal.Signals) -> None:
    script = textwrap.dedent("""
        import sys, pathlib
        from vaultak.config import Settings
        from vaultak_devstack.backends import Ports
        from vaultak_devstack.stack import Stack
        from vaultak_devstack.supervised import ChildSpec
        settings = Settings.from_env()
        child = ChildSpec(name="worker", command=(sys.executable, "-c", "import time; time.sleep(600)"))
        with Stack(settings, children=[child], ports=Ports(broker=0, clickhouse_http=0, clickhouse_tcp=0)) as stack:
            with stack.stopping_on_signals():
                stack.wait_ready()
                print("up", flush=True)
                stack.wait()
        print("down", flush=True)
    """)
    env = {**os.environ, "VAULTAK_DATA_DIR": str(tmp_path)}
    supervisor = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=env)
    assert supervisor.stdout is not None
    assert supervisor.stdout.readline() == "up\n"
    state = StackState.load(tmp_path)
    assert state is not None
    supervisor.send_signal(number)
    out, _ = supervisor.communicate(timeout=10)
    if number != signal.SIGKILL:
        assert (out, supervisor.returncode) == ("down\n", 0)
    _eventually(lambda: not [pid for pid in state.pids.values() if _alive(pid)])
    assert StackState.load(tmp_path) is None


@pytest.mark.stack
def test_what_the_environment_names_is_used_and_left_alone(
    tmp_path: Path, broker: Broker, clickhouse: ClickHouseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULTAK_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("VAULTAK_CLICKHOUSE_DSN", clickhouse.dsn("admin"))
    monkeypatch.setenv("VAULTAK_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("VAULTAK_TOPIC_PREFIX", f"ext{os.getpid()}")
    with Stack(Settings.from_env()) as stack:
        state = stack.state()
        assert (state.broker, state.clickhouse, state.pids) == ("external", "external", {})
        assert stack.child_env()["VAULTAK_CLICKHOUSE_DSN"] == clickhouse.dsn("admin")
    assert broker.running
    assert clickhouse.execute("SELECT 1") == "1\n"


def test_a_broker_that_the_environment_names_but_is_not_there_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULTAK_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    with pytest.raises(DevstackError, match=r"no Kafka broker answers at `127.0.0.1:1`"):
        Stack(_settings(tmp_path, VAULTAK_BOOTSTRAP_SERVERS="127.0.0.1:1")).start()


def test_a_choice_against_the_environment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULTAK_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="VAULTAK_BOOTSTRAP_SERVERS: set, so no embedded broker"):
        Stack(_settings(tmp_path), broker="embedded")
    monkeypatch.delenv("VAULTAK_BOOTSTRAP_SERVERS")
    with pytest.raises(ConfigurationError, match="VAULTAK_CLICKHOUSE_DSN: not set"):
        Stack(_settings(tmp_path), clickhouse="external")


@pytest.mark.stack
def test_a_start_that_fails_leaves_nothing_running(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = Ports(broker=0, clickhouse_http=taken.getsockname()[1], clickhouse_tcp=0)
        stack = Stack(_settings(tmp_path), ports=ports)
        with pytest.raises(PortInUseError, match="ClickHouse: port"):
            stack.start()
    assert not stack.broker.running
    assert StackState.load(tmp_path) is None
    StackLock(tmp_path).acquire()


@pytest.mark.kafka
def test_a_stack_on_apache_kafka_keeps_its_topics(tmp_path: Path) -> None:
    from vaultak_devstack.broker_kafka import available

    if reason := available():
        pytest.skip(f"no Apache Kafka here: {reason}")
    for created in (len(Topics("vaultak").all()), 0):
        with Stack(_settings(tmp_path), broker="kafka", ports=FREE) as stack:
            assert stack.state().broker == "kafka"
            assert stack.topics is not None
            assert len(stack.topics.created) == created


def test_ports_come_from_the_environment() -> None:
    assert Ports.from_env({}).broker == 9092
    assert Ports.from_env({"VAULTAK_BROKER_PORT": "0", "VAULTAK_CLICKHOUSE_PORT": "18123"}) == Ports(
        broker=0, clickhouse_http=18123
    )
    with pytest.raises(ConfigurationError, match="VAULTAK_BROKER_PORT: `x` is not a port"):
        Ports.from_env({"VAULTAK_BROKER_PORT": "x"})


@given(lives_s=st.lists(st.floats(0, 200), max_size=40))
def test_back_off_is_bounded_and_forgets_after_a_healthy_life(lives_s: list[float]) -> None:
    backoff, now, previous = Backoff(), 0.0, 0.0
    for life in lives_s:
        backoff.started(now)
        now += life
        delay = backoff.ended(now)
        assert 0.5 <= delay <= 30
        assert delay == 0.5 if life > 60.001 else delay >= min(previous, 30) or life >= 60
        previous = delay
        now += delay
    assert backoff.restarts == len(lives_s)


def _recorded(data: Path, name: str) -> int | None:
    state = StackState.load(data)
    return state.pids.get(name) if state else None


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("did not happen in time")
