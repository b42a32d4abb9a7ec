"""A real Apache Kafka on this machine: starts from pinned jars, keeps its data, survives kill -9, forms a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from vaultak.wire import Topics
from vaultak_devstack import kafka_jars
from vaultak_devstack.broker_kafka import KafkaBroker, KafkaCluster, available
from vaultak_devstack.embedded_offsets import end_offsets
from vaultak_devstack.errors import PortInUseError, UnavailableError
from vaultak_devstack.kafka_properties import Node, render, server_properties
from vaultak_devstack.resources import infra_path
from vaultak_devstack.topics import ensure_topics

PARTITION = TopicPartition(Topics().actions, 3)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    if reason := available():
        pytest.skip(f"no Apache Kafka here: {reason}")
    with KafkaBroker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.mark.kafka
@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_what_was_acknowledged_is_there_after(kafka: KafkaBroker, end: str) -> None:
    await ensure_topics(kafka.bootstrap_servers)
    before = (await end_offsets(kafka.bootstrap_servers, [PARTITION]))[PARTITION]
    await _produce(kafka.bootstrap_servers, 100)
    getattr(kafka, end)()
    assert not kafka.running
    kafka.start()
    report = await ensure_topics(kafka.bootstrap_servers)
    assert (report.created, report.mismatches) == ((), ())
    assert (await end_offsets(kafka.bootstrap_servers, [PARTITION]))[PARTITION] == before + 100


@pytest.mark.kafka
async def test_idempotent_producers_and_group_offsets_work(kafka: KafkaBroker) -> None:
    await ensure_topics(kafka.bootstrap_servers)
    await _produce(kafka.bootstrap_servers, 10, enable_idempotence=True)
    seen: list[int] = []
    for _ in range(2):
        consumer = AIOKafkaConsumer(
            PARTITION.topic,
            bootstrap_servers=kafka.bootstrap_servers,
            group_id="two-lives",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        for _ in range(5):
            seen.append((await asyncio.wait_for(consumer.getone(), 20)).offset)
        await consumer.commit({PARTITION: seen[-1] + 1})
        await consumer.stop()
    assert seen == list(range(seen[0], seen[0] + 10))


@pytest.mark.kafka
async def test_topics_that_nobody_declared_are_not_made(kafka: KafkaBroker) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, request_timeout_ms=1500)
    await producer.start()
    with pytest.raises(Exception, match=r"(?i)topic|metadata|timeout"):
        await producer.send_and_wait("undeclared", b"x")
    await producer.stop()


@pytest.mark.kafka
def test_a_taken_port_is_one_clear_line(kafka: KafkaBroker, tmp_path: Path) -> None:
    with pytest.raises(PortInUseError, match=rf"Kafka: port {kafka.port} .* is in use"):
        KafkaBroker(tmp_path, port=kafka.port).start()


@pytest.mark.kafka
@pytest.mark.slow
async def test_three_brokers_lose_one_and_nothing_else(tmp_path: Path) -> None:
    if reason := available():
        pytest.skip(f"no Apache Kafka here: {reason}")
    with KafkaCluster(tmp_path, brokers=3) as cluster:
        await ensure_topics(cluster.bootstrap_servers, timeout_s=60)
        await _produce(cluster.bootstrap_servers, 200, enable_idempotence=True)
        cluster.brokers[1].kill()
        await _produce(cluster.bootstrap_servers, 200, enable_idempotence=True)
        cluster.brokers[1].start()
        ends = await end_offsets(cluster.bootstrap_servers, [PARTITION], timeout_s=30)
        assert ends[PARTITION] == 400


@pytest.mark.parametrize(("home", "reason"), [("/nonexistent", "no JVM")])
def test_without_a_jvm_it_says_so(monkeypatch: pytest.MonkeyPatch, home: str, reason: str) -> None:
    monkeypatch.setenv("JAVA_HOME", home)
    assert reason in (available() or "")


@pytest.mark.parametrize(("version", "told"), [("1.8.0_402", 8), ("11.0.2", 11), ("17.0.15", 17), ("25", 25)])
def test_an_old_jvm_is_told_from_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, told: int
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if told >= kafka_jars.MIN_JAVA:
        assert kafka_jars.java() == str(program)
    else:
        with pytest.raises(UnavailableError, match=f"is Java {told}: Apache Kafka needs 17"):
            kafka_jars.java()


def test_a_failed_fetch_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho '[ERROR] Some problems:'\necho '[ERROR] no network'\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(kafka_jars, "jars_dir", lambda: tmp_path / "cache" / "jars")
    with pytest.raises(UnavailableError, match=r"^Maven could not fetch Apache Kafka: no network$"):
        kafka_jars.ensure_jars()
    assert list((tmp_path / "cache").iterdir()) == []


def test_every_version_of_the_pom_is_pinned_and_no_registry_is_named() -> None:
    pom = infra_path("kafka/pom.xml").read_text()
    assert "<repository" not in pom
    assert not [
        line for line in pom.splitlines() if "version>" in line and any(c in line for c in "[(,") and "$" not in line
    ]


def test_a_broker_listens_on_loopback_only() -> None:
    node = Node(1, 19092, 19093)
    properties = server_properties(node, (node,), Path("/data"))
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093"
    assert properties["auto.create.topics.enable"] == "false"
    assert {properties[key] for key in properties if key.endswith("replication.factor")} == {"1"}
    assert "listeners=PLAINTEXT://127.0.0.1:19092" in render(properties)


def test_three_nodes_replicate_thrice() -> None:
    nodes = tuple(Node(i, 19000 + i, 19100 + i) for i in (1, 2, 3))
    properties = server_properties(nodes[0], nodes, Path("/data"))
    assert {properties[key] for key in properties if key.endswith("replication.factor")} == {"3"}
    assert properties["min.insync.replicas"] == "2"


async def _produce(servers: str, count: int, **options: object) -> None:
    deadline = time.monotonic() + 60
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", request_timeout_ms=30_000, **options)
    await producer.start()
    try:
        sent = [await producer.send(PARTITION.topic, b"%d" % i, partition=PARTITION.partition) for i in range(count)]
        await asyncio.wait_for(asyncio.gather(*sent), deadline - time.monotonic())
    finally:
        await producer.stop()
