"""On a real Apache Kafka with TLS, SCRAM and ACLs: each role may do what it needs, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAuthorizationFailedError

from failures.parts import Process
from security.certificates import Authority
from vaultak import Vaultak
from vaultak.config import Settings
from vaultak.kafka_clients import client_kwargs
from vaultak.wire import AgentState, CommandType
from vaultak_devstack.acls import acls_for, apply_acls, roles
from vaultak_devstack.broker_kafka import KafkaBroker, available
from vaultak_devstack.kafka_properties import Secured
from vaultak_devstack.keys import command_signer
from vaultak_devstack.ports import free_port
from vaultak_devstack.topics import ensure_topics
from vaultak_streams.agents.readiness import wait_until_ready
from vaultak_streams.operate import send_command
from vaultak_streams.store.client import connect
from vaultak_streams.store.migrations import migrate

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PREFIX = "secured"
ROLES = tuple(roles())
PASSWORDS = {role: f"secret of {role}".replace(" ", "-") for role in ROLES}
TOPICS = (
    "actions", "verdicts", "control", "agent-state", "acks", "incidents", "policies", "baselines", "models",
    "dead-letter", "anchors",
)  # fmt: skip


class Deployment:
    """A secured broker with all topics, and the settings of each role."""

    def __init__(self, folder: Path, broker: KafkaBroker, port: int, authority: Path) -> None:
        self.folder, self.broker, self.port, self.authority = folder, broker, port, authority

    def environment(self, role: str) -> dict[str, str]:
        return {
            "VAULTAK_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.port}",
            "VAULTAK_TOPIC_PREFIX": PREFIX,
            "VAULTAK_DATA_DIR": str(self.folder / "data"),
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": role,
            "KAFKA_SASL_PASSWORD": PASSWORDS[role],
            "KAFKA_SSL_CAFILE": str(self.authority),
            "KAFKA_SSL_CERTFILE": str(self.folder / "client.pem"),
        }

    def with_token(self, text: str) -> Settings:
        """Named by a token instead of a password."""
        (self.folder / "token").write_text(text)
        return self.settings(
            "agent",
            KAFKA_SASL_MECHANISM="OAUTHBEARER",
            KAFKA_SASL_USERNAME="",
            KAFKA_SASL_PASSWORD="",
            KAFKA_SASL_OAUTHBEARER_TOKEN_FILE=str(self.folder / "token"),
        )

    def settings(self, role: str, **changes: str) -> Settings:
        return Settings.from_env(self.environment(role) | changes)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    if reason := available():
        pytest.skip(f"no Apache Kafka here: {reason}")
    folder = tmp_path_factory.mktemp("secured")
    authority, port = Authority("the authority of these tests"), free_port()
    authority.client(folder / "client.pem", "a client")
    secured = Secured(port, authority.server(folder / "broker.pem"), authority.trusted(folder / "authority.pem"))
    with KafkaBroker(folder / "kafka", secured=secured, users=PASSWORDS) as broker:
        asyncio.run(ensure_topics(broker.bootstrap_servers, PREFIX))
        open_to_us = Settings.from_env(
            {"VAULTAK_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "VAULTAK_TOPIC_PREFIX": PREFIX}
        )
        asyncio.run(wait_until_ready(open_to_us, print))  # as `vaultak migrate` does: the workers' changelog
        principals = {role: [f"User:{role}"] for role in ROLES}
        asyncio.run(apply_acls(open_to_us, acls_for(principals, PREFIX)))
        yield Deployment(folder, broker, port, folder / "authority.pem")


async def rights(settings: Settings) -> dict[str, tuple[bool, bool]]:
    """For each topic whether it can be written to, and read. One that may not even be described can be neither."""
    consumer = AIOKafkaConsumer(**client_kwargs(settings), fetch_max_wait_ms=50)
    producer = AIOKafkaProducer(**client_kwargs(settings))
    await consumer.start()
    await producer.start()
    try:
        seen = await consumer.topics()
        found = {}
        for topic in TOPICS:
            name = f"{PREFIX}.{topic}"
            here = name in seen
            found[topic] = here and await _writes(producer, name), here and await _reads(settings, name)
        return found
    finally:
        await producer.stop()
        await consumer.stop()


async def _writes(producer: AIOKafkaProducer, topic: str) -> bool:
    try:
        await producer.send_and_wait(topic, b"{}", key=b"x", partition=0)
    except TopicAuthorizationFailedError:
        return False
    return True


async def _reads(settings: Settings, topic: str) -> bool:
    """With a client of its own: a refusal may come late, when the next topic is asked for."""
    consumer = AIOKafkaConsumer(**client_kwargs(settings), fetch_max_wait_ms=50)
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek(partition, 0)
        await consumer.getmany(timeout_ms=500)
    except TopicAuthorizationFailedError:
        return False
    finally:
        await consumer.stop()
    return True


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_what_is_declared_and_nothing_else(deployment: Deployment, role: str) -> None:
    declared = roles()[role]
    wanted = {topic: (topic in declared.write, topic in declared.read) for topic in TOPICS}
    assert asyncio.run(rights(deployment.settings(role))) == wanted


@pytest.mark.parametrize(
    "changes",
    [
        {"KAFKA_SASL_PASSWORD": "a guess"},
        {"KAFKA_SASL_USERNAME": "nobody"},
        {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"},
        {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"},
        {"KAFKA_SECURITY_PROTOCOL": "SSL"},
        {"KAFKA_SSL_CERTFILE": ""},
    ],
)
def test_whoever_cannot_show_who_he_is_does_not_get_in(deployment: Deployment, changes: dict[str, str]) -> None:
    async def connect() -> None:
        producer = AIOKafkaProducer(**client_kwargs(deployment.settings("agent", **changes)), request_timeout_ms=3000)
        try:
            await producer.start()
        finally:
            await producer.stop()

    with pytest.raises(KafkaError):
        asyncio.run(connect())


def token(name: str) -> str:
    """A token that its issuer did not sign: what the broker of these tests takes."""
    claims = {"sub": name, "iat": time.time() - 5, "exp": time.time() + 300}
    parts = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)
    )
    return ".".join(parts) + "."


def test_a_token_names_a_client_as_a_password_does(deployment: Deployment) -> None:
    declared = roles()["agent"]
    wanted = {topic: (topic in declared.write, topic in declared.read) for topic in TOPICS}
    assert asyncio.run(rights(deployment.with_token(token("agent")))) == wanted


def test_what_is_no_token_does_not_get_in(deployment: Deployment) -> None:
    async def connect() -> None:
        producer = AIOKafkaProducer(**client_kwargs(deployment.with_token("no token at all")), request_timeout_ms=3000)
        try:
            await producer.start()
        finally:
            await producer.stop()

    with pytest.raises(KafkaError):
        asyncio.run(connect())


def test_a_broker_that_somebody_else_vouches_for_is_not_spoken_to(deployment: Deployment, tmp_path: Path) -> None:
    other = Authority("somebody else").trusted(tmp_path / "other.pem")

    async def connect() -> None:
        producer = AIOKafkaProducer(**client_kwargs(deployment.settings("agent", KAFKA_SSL_CAFILE=str(other))))
        try:
            await producer.start()
        finally:
            await producer.stop()

    with pytest.raises(KafkaConnectionError):
        asyncio.run(connect())


def test_the_sdk_publishes_and_obeys_with_an_agents_rights(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, agent_id = deployment.settings("agent"), f"agent-{uuid.uuid4().hex[:8]}"
    sign = command_signer(settings.data_dir)
    for name, value in deployment.environment("agent").items():
        monkeypatch.setenv(name, value)
    with Vaultak() as vt, vt.monitor(agent_id, intercept=False) as session:
        session.check("tool_call", "tool:search", {"query": "weather"})
        assert vt.flush(20)

        async def order(command: CommandType) -> Any:
            return await send_command(deployment.settings("operator"), sign, agent_id, command, ack_timeout_s=20)

        assert asyncio.run(order(CommandType.KILL)).acks
        assert session.state is AgentState.KILLED


def test_what_an_agent_does_is_judged_and_stored_with_no_more_rights_than_declared(
    deployment: Deployment, clickhouse_database: Callable[..., str], tmp_path: Path
) -> None:
    migrate(clickhouse_database("admin"))
    processes = [
        Process([sys.executable, "-m", module], {**os.environ, **environment}, tmp_path / f"{role}.log")
        for role, module, environment in (
            ("worker", "vaultak_streams.agents.worker", deployment.environment("worker")),
            (
                "sink",
                "vaultak_streams.sink",
                deployment.environment("sink") | {"VAULTAK_CLICKHOUSE_DSN": clickhouse_database("writer")},
            ),
        )
    ]
    try:
        for process in processes:
            process.start()
        with Vaultak(settings=deployment.settings("agent"), rollback_limit=0) as vt:
            monitor = vt.monitor(f"agent-{uuid.uuid4().hex[:8]}", intercept=False)
            action_id = monitor.check("tool_call", "tool:search", {"query": "weather"}).action_id
            assert vt.flush(20)
        sql = "SELECT count() FROM actions WHERE action_id = {id:String} AND scored_ts IS NOT NULL AND payload != ''"
        deadline = time.monotonic() + 60
        with connect(clickhouse_database("viewer")) as store:
            while not store.query(sql, {"id": action_id}).rows[0][0]:
                assert time.monotonic() < deadline, "\n".join(process.log.read_text() for process in processes)
                time.sleep(0.2)
    finally:
        for process in processes:
            process.kill()
