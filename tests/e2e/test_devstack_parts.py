"""What `vaultak up` starts: a broker, ClickHouse, topics. Each starts, stops, survives, and says clearly why not."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import clickhouse_connect
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from vaultak.wire import Topics
from vaultak_devstack import topics as topics_module
from vaultak_devstack.broker import Broker
from vaultak_devstack.broker_embedded import EMBEDDED_CLIENT_SETTINGS, EmbeddedBroker
from vaultak_devstack.clickhouse_config import BOOT_QUERIES
from vaultak_devstack.clickhouse_server import ClickHouseServer, explain
from vaultak_devstack.embedded_offsets import end_offsets
from vaultak_devstack.errors import (
    DevstackError,
    PortInUseError,
    StartTimeoutError,
    StoreDamagedError,
    StoreLockedError,
    UnavailableError,
)
from vaultak_devstack.kafka_probe import answers
from vaultak_devstack.ports import free_port
from vaultak_devstack.resources import infra_path

pytestmark = pytest.mark.stack


def test_the_embedded_broker_answers_and_stops() -> None:
    with EmbeddedBroker() as broker:
        port = broker.port
        assert answers("127.0.0.1", port)
        assert len(broker.pids) == 1
    assert not answers("127.0.0.1", port)
    assert broker.pids == ()


def test_a_taken_port_is_one_clear_line() -> None:
    with EmbeddedBroker() as first, pytest.raises(PortInUseError, match=rf"port {first.port} .* is in use"):
        EmbeddedBroker(port=first.port).start()


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """kill -9 of the process that started the broker takes the broker with it."""
    script = (
        "import time\nfrom vaultak_devstack.broker_embedded import EmbeddedBroker\n"
        "b = EmbeddedBroker(); b.start(); print(b.port, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    port = int(parent.stdout.readline())
    assert answers("127.0.0.1", port)
    parent.kill()
    parent.wait()
    _eventually(lambda: not answers("127.0.0.1", port))


async def test_topics_are_created_once_and_compared(broker: Broker) -> None:
    prefix = f"once{os.getpid()}"
    first = await topics_module.ensure_topics(broker.bootstrap_servers, prefix)
    again = await topics_module.ensure_topics(broker.bootstrap_servers, prefix)
    assert first.created == Topics(prefix).all()
    assert (again.created, again.existing) == ((), first.created)
    assert again.mismatches == ()


async def test_several_processes_may_create_the_topics_at_once(broker: Broker) -> None:
    prefix = f"race{os.getpid()}"
    reports = await asyncio.gather(*(topics_module.ensure_topics(broker.bootstrap_servers, prefix) for _ in range(4)))
    created = [name for report in reports for name in report.created]
    assert sorted(created) == sorted(Topics(prefix).all())


async def test_a_topic_that_differs_is_named(broker: Broker) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    prefix = f"diff{os.getpid()}"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(f"{prefix}.actions", 3, 1)])
    await admin.close()
    report = await topics_module.ensure_topics(broker.bootstrap_servers, prefix)
    assert report.mismatches == (f"topic `{prefix}.actions` has 3 partitions, not the 8 declared",)


async def test_no_broker_is_one_clear_line_after_the_deadline() -> None:
    port = free_port()
    with pytest.raises(StartTimeoutError, match=rf"no broker answered at 127.0.0.1:{port}"):
        await topics_module.ensure_topics(f"127.0.0.1:{port}", timeout_s=0.5)


def test_topics_file_and_contract_say_the_same() -> None:
    specs = {spec.name: spec for spec in topics_module.declared("vaultak")}
    names = Topics()
    assert tuple(specs) == names.all()
    compacted = {name for name, spec in specs.items() if spec.cleanup == "compact"}
    assert compacted == {names.agent_state, names.policies, names.baselines, names.models}
    days = {names.actions: 7, names.verdicts: 7, names.anchors: 400}
    for name, spec in specs.items():
        assert spec.retention_ms == days.get(name, 30) * topics_module.DAY_MS
    keyed = (names.actions, names.verdicts, names.control, names.agent_state, names.acks)
    assert len({specs[name].partitions for name in keyed}) == 1


async def test_what_is_produced_is_consumed(broker: Broker, topics: Topics) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers)
    await producer.start()
    for i in range(50):
        await producer.send(topics.actions, b"%d" % i, key=b"agent-%d" % (i % 5))
    await producer.stop()
    consumer = AIOKafkaConsumer(
        topics.actions, bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    got = [await asyncio.wait_for(consumer.getone(), 10) for _ in range(50)]
    await consumer.stop()
    assert sorted(int(m.value or b"") for m in got) == list(range(50))


async def test_the_ends_of_partitions_are_told_truly_whatever_the_batches(broker: Broker, topics: Topics) -> None:
    """The embedded broker's own answer is short by the last batch; ours is not, on any broker."""
    partitions = [TopicPartition(topics.actions, i) for i in range(8)]
    expected = dict.fromkeys(partitions, 0)
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers, linger_ms=20)
    await producer.start()
    for batch in (1, 7, 2):
        for tp in partitions[:6]:
            sent = [await producer.send(tp.topic, b"x", partition=tp.partition) for _ in range(batch + tp.partition)]
            expected[tp] = (await sent[-1]).offset + 1
        assert await end_offsets(broker.bootstrap_servers, partitions) == expected
    await producer.stop()


async def test_a_consumer_with_the_embedded_settings_resumes_where_it_committed(broker: Broker, topics: Topics) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers, **EMBEDDED_CLIENT_SETTINGS["producer"])
    await producer.start()
    for i in range(60):
        await producer.send(topics.actions, b"%d" % i, key=b"%d" % i)
    await producer.stop()
    seen: list[tuple[int, int]] = []
    for _ in range(2):
        consumer = AIOKafkaConsumer(
            topics.actions,
            bootstrap_servers=broker.bootstrap_servers,
            group_id=f"resume-{topics.prefix}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            **EMBEDDED_CLIENT_SETTINGS["consumer"],
        )
        await consumer.start()
        for _ in range(30):
            record = await asyncio.wait_for(consumer.getone(), 30)
            seen.append((record.partition, record.offset))
        await consumer.commit()
        await consumer.stop()
    assert len(set(seen)) == 60


def test_clickhouse_answers_over_http_with_the_roles_it_should_have(clickhouse: ClickHouseServer) -> None:
    for role in ("admin", "writer", "viewer"):
        client = clickhouse_connect.get_client(dsn=clickhouse.dsn(role))
        assert client.query("SELECT currentUser()").result_rows == [(role,)]
        client.close()


@pytest.mark.parametrize(
    ("role", "sql"),
    [
        ("viewer", "INSERT INTO vaultak.guarded VALUES (1)"),
        ("viewer", "DROP TABLE vaultak.guarded"),
        ("viewer", "SELECT * FROM system.users"),
        ("writer", "DROP TABLE vaultak.guarded"),
        ("writer", "TRUNCATE TABLE vaultak.guarded"),
        ("writer", "ALTER TABLE vaultak.guarded DELETE WHERE 1"),
        ("admin", "CREATE USER mallory"),
        ("admin", "CREATE DATABASE elsewhere"),
        *(
            (role, f"SELECT * FROM {source}")
            for role in ("viewer", "writer", "admin")
            for source in (
                "file('/etc/passwd', 'LineAsString')",
                "`default`.`/etc/passwd`",
                "url('http://127.0.0.1:1/', 'LineAsString')",
                "remote('127.0.0.1:1', 'system', 'one')",
            )
        ),
    ],
)
def test_no_role_may_do_more_than_its_work(clickhouse: ClickHouseServer, role: str, sql: str) -> None:
    clickhouse.execute("CREATE TABLE IF NOT EXISTS vaultak.guarded (a UInt8) ENGINE = MergeTree ORDER BY a")
    with pytest.raises(DevstackError, match="Not enough privileges"):
        clickhouse.execute(sql, role)  # type: ignore[arg-type]


def test_the_engines_own_user_is_shut_for_everybody_else(clickhouse: ClickHouseServer) -> None:
    tries = (
        "SHOW DATABASES",
        "SELECT * FROM system.tables",
        "SELECT count() FROM numbers(1)",
        "SYSTEM STOP LISTEN HTTP",
    )
    for statement in (*tries, *BOOT_QUERIES):
        request = urllib.request.Request(f"http://127.0.0.1:{clickhouse.http_port}/", data=statement.encode())
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=5)
        refused.value.close()
    assert clickhouse.execute("SELECT 1") == "1\n"


def test_clickhouse_listens_on_loopback_only_and_keeps_its_files_private(clickhouse: ClickHouseServer) -> None:
    with pytest.raises(OSError):
        socket.create_connection((_outer_address(), clickhouse.http_port), 1).close()
    for name in ("credentials.json", "conf/users.xml", "conf/config.xml"):
        assert stat.S_IMODE((clickhouse.data_dir / name).stat().st_mode) == 0o600


def test_clickhouse_backs_up_and_restores(clickhouse: ClickHouseServer) -> None:
    clickhouse.execute("CREATE TABLE vaultak.kept (a UInt64) ENGINE = MergeTree ORDER BY a")
    clickhouse.execute("INSERT INTO vaultak.kept SELECT number FROM numbers(10)", "admin")
    clickhouse.execute("BACKUP TABLE vaultak.kept TO Disk('backups', 'one')")
    clickhouse.execute("DROP TABLE vaultak.kept SYNC")
    clickhouse.execute("RESTORE TABLE vaultak.kept FROM Disk('backups', 'one')")
    assert clickhouse.execute("SELECT count() FROM vaultak.kept") == "10\n"


def test_clickhouse_keeps_what_it_acknowledged_through_stop_and_kill(tmp_path: Path) -> None:
    server = ClickHouseServer(tmp_path)
    server.start()
    server.execute("CREATE TABLE vaultak.t (a UInt64) ENGINE = MergeTree ORDER BY a")
    server.execute("INSERT INTO vaultak.t SELECT number FROM numbers(5)", "writer")
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 3
    server.start()
    server.execute("INSERT INTO vaultak.t VALUES (5)", "writer")
    server.kill()
    server.start()
    assert server.execute("SELECT count(), max(a) FROM vaultak.t", "viewer") == "6\t5\n"
    server.stop()


def test_a_second_server_on_the_same_store_says_so_and_harms_nothing(clickhouse: ClickHouseServer) -> None:
    with pytest.raises(StoreLockedError, match="is served by another process"):
        ClickHouseServer(clickhouse.data_dir).start()
    assert clickhouse.execute("SELECT 1") == "1\n"


def test_clickhouse_says_which_port_is_taken(clickhouse: ClickHouseServer, tmp_path: Path) -> None:
    with pytest.raises(PortInUseError, match=rf"port {clickhouse.http_port} .* is in use"):
        ClickHouseServer(tmp_path, http_port=clickhouse.http_port).start()


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    server = ClickHouseServer(tmp_path)
    server.start()
    server.execute("CREATE TABLE vaultak.t (a UInt64) ENGINE = MergeTree ORDER BY a")
    server.stop()
    definition = next((tmp_path / "store" / "store").rglob("t.sql"))
    definition.write_text("ATTACH TABLE _ this is not SQL")
    with pytest.raises(StoreDamagedError, match=r"cannot open `.*`: Code: 62"):
        server.start()
    assert not server.running


@pytest.mark.parametrize(
    ("code", "output", "kind"),
    [
        (3, "", StoreLockedError),
        (1, "Code: 210. DB::NetException: Address already in use: 127.0.0.1:9000", PortInUseError),
        (1, "Can't start servers because start_servers_callback is not set", UnavailableError),
        (4, "vaultak-clickhouse: cannot load the engine", UnavailableError),
        (None, "", StartTimeoutError),
        (-11, "", StoreDamagedError),
    ],
)
def test_each_way_not_to_start_has_its_own_error(
    tmp_path: Path, code: int | None, output: str, kind: type[DevstackError]
) -> None:
    error = explain(code, output, tmp_path, (8123, 9000), tmp_path / "log")
    assert type(error) is kind
    assert "\n" not in str(error)


def test_clickhouse_dies_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time, pathlib\nfrom vaultak_devstack.clickhouse_server import ClickHouseServer\n"
        "s = ClickHouseServer(pathlib.Path(sys.argv[1])); s.start(); print(s.pids[0], flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _eventually(lambda: not Path(f"/proc/{pid}").exists())


def test_infra_files_are_found_and_nothing_outside() -> None:
    assert infra_path("kafka/topics.yaml").is_file()
    with pytest.raises(FileNotFoundError, match="infra/none"):
        infra_path("none")
    for outside in ("../pyproject.toml", "/etc/passwd"):
        with pytest.raises(ValueError, match="not a path inside"):
            infra_path(outside)


def _outer_address() -> str:
    """An address of this machine that is not loopback, else one of loopback that nothing of ours should serve."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
            return str(s.getsockname()[0])
        except OSError:
            return "127.0.0.2"


def _eventually(condition: object, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.05)
    pytest.fail("did not happen in time")
