"""From an agent's action to the command applied in that agent, through broker and worker, beside a bare round trip.

Real parts: the broker of `VAULTAK_TEST_BROKER` (`embedded` or `kafka`), a worker process, the SDK's emitter and control
listener. The worker's policy blocks every action, so that each is followed by a command (`deny`).
"""

from __future__ import annotations

import asyncio
import os
import queue
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.timing import Sample, compare, say
from vaultak.config import Settings
from vaultak.control import ControlListener
from vaultak.emitter import Emitter
from vaultak.kafka_clients import client_kwargs, fetch_wait_ms
from vaultak.publish import Publisher
from vaultak.redact import Redactor
from vaultak.wire import AckResult, ActionType, Command, Local, uuid7
from vaultak_devstack.broker_embedded import EmbeddedBroker
from vaultak_devstack.broker_kafka import KafkaBroker
from vaultak_devstack.keys import command_signer
from vaultak_devstack.topics import ensure_topics
from vaultak_streams.agents.options import status_path
from vaultak_streams.agents.status import read_status

ACTIONS = 400
PACE_S = 0.01
POLICY = 'blocked_resources = ["tool:*"]\nmode = "block"\n'


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        kafka = os.environ.get("VAULTAK_TEST_BROKER") == "kafka"
        broker = KafkaBroker(root / "kafka") if kafka else EmbeddedBroker(log_dir=root)
        with broker:
            settings = Settings.from_env(
                {"VAULTAK_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "VAULTAK_DATA_DIR": str(root / "data")}
            )
            asyncio.run(ensure_topics(broker.bootstrap_servers, settings.topics.prefix))
            bare = asyncio.run(_bare_round_trips(settings))
            applied = _action_to_command(settings, root)
            compare(f"from action to command, broker: {broker.kind}", [bare, applied], baseline=bare.name)


async def _bare_round_trips(settings: Settings) -> Sample:
    """One producer, one consumer, one partition: what the broker and the client cost alone."""
    partition = TopicPartition(settings.topics.acks, 0)
    producer = AIOKafkaProducer(**client_kwargs(settings), acks="all", linger_ms=0)
    consumer = AIOKafkaConsumer(
        **client_kwargs(settings), fetch_max_wait_ms=fetch_wait_ms(settings), auto_offset_reset="latest"
    )
    await producer.start()
    await consumer.start()
    consumer.assign([partition])
    await consumer.seek_to_end(partition)
    values = []
    for _ in range(ACTIONS):
        sent = time.perf_counter()
        await producer.send(partition.topic, b"x" * 300, partition=0)
        await consumer.getone()
        values.append((time.perf_counter() - sent) * 1e6)
        await asyncio.sleep(PACE_S)
    await consumer.stop()
    await producer.stop()
    return Sample("bare aiokafka produce -> consume", sorted(values))


def _action_to_command(settings: Settings, root: Path) -> Sample:
    command_signer(settings.data_dir)  # the deployment's key, before anyone looks for it
    policy = root / "policy.toml"
    policy.write_text(POLICY)
    env = {
        **os.environ,
        "VAULTAK_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "VAULTAK_DATA_DIR": str(settings.data_dir),
        "VAULTAK_POLICY": str(policy),
    }
    with subprocess.Popen([sys.executable, "-m", "vaultak_streams.agents.worker"], env=env) as worker:
        try:
            _wait_for_worker(settings)
            return _measure(settings)
        finally:
            worker.terminate()


def _wait_for_worker(settings: Settings) -> None:
    deadline = time.monotonic() + 60
    while (status := read_status(status_path(settings, 0))) is None or status.state != "running":
        if time.monotonic() > deadline:
            raise TimeoutError("the worker did not start")
        time.sleep(0.1)


def _measure(settings: Settings) -> Sample:
    arrived: queue.Queue[tuple[str, float]] = queue.Queue()

    def obey(command: Command) -> tuple[AckResult, str]:
        arrived.put((command.action_id, time.perf_counter()))
        return AckResult.APPLIED, ""

    publisher = Publisher(settings)
    emitter = Emitter("bench-agent", settings.topics.actions, publisher, Redactor())
    listener = ControlListener(settings, "bench-agent", emitter.instance, obey, lambda _record: None, publisher)
    listener.start()
    if not listener.wait_ready(10):
        raise TimeoutError("the control listener did not get ready")
    values = []
    for n in range(ACTIONS + 20):
        action_id = uuid7()
        sent = time.perf_counter()
        emitter.action(
            action_id, f"session-{n}", time.time(), ActionType.TOOL_CALL, "tool:send_report", {"n": n},
            Local(decision="allow"), labels={},
        )  # fmt: skip
        while (answer := arrived.get(timeout=10))[0] != action_id:
            pass
        values.append((answer[1] - sent) * 1e6)
        time.sleep(PACE_S)
    listener.stop()
    publisher.close()
    say(f"publisher: {msgspec.to_builtins(publisher.stats)}")
    return Sample("action emitted -> command applied", sorted(values[20:]))
