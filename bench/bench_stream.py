"""Actions a second through one worker, beside a Faust agent that only decodes and counts; event to command in ms.

Same broker, same data, one process each, one after the other. `VAULTAK_TEST_BROKER=kafka` runs it on Apache Kafka
instead of the embedded broker.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.timing import Sample, compare, say, table
from vaultak.wire import Topics, format_ts
from vaultak_devstack.broker import Broker
from vaultak_devstack.broker_embedded import EmbeddedBroker
from vaultak_devstack.topics import ensure_topics

EVENTS = 20_000
AGENTS = 50
ROUNDS = 3
PROBES = 300
LOOK_EVERY_S = 0.02
PROBE_PAUSE_S = 0.01

FAUST_AGENT = """
import sys, time, faust
from vaultak.wire import decode_event
servers, topic, total = sys.argv[1], sys.argv[2], int(sys.argv[3])
app = faust.App(f"bench-{topic}", broker=f"kafka://{servers}", store="memory://", web_enabled=False,
                topic_disable_leader=True, topic_allow_declare=False, consumer_auto_offset_reset="earliest",
                broker_session_timeout=6, broker_heartbeat_interval=1, datadir=sys.argv[4])
actions = app.topic(topic, key_serializer="raw", value_serializer="raw")
@app.agent(actions)
async def count(stream):
    n, started = 0, 0.0
    async for value in stream:
        started = started or time.perf_counter()
        decode_event(value)
        n += 1
        if n == total:
            print("RATE", total / (time.perf_counter() - started), file=sys.__stdout__, flush=True)
sys.argv = ["bench", "worker", "-l", "error"]
app.main()
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, broker_of(Path(directory)) as broker:
        asyncio.run(_run(broker, Path(directory)))


def broker_of(directory: Path) -> Broker:
    """The broker that the environment asks for, not started yet."""
    if os.environ.get("VAULTAK_TEST_BROKER") == "kafka":
        from vaultak_devstack.broker_kafka import KafkaBroker

        return KafkaBroker(directory / "kafka")
    return EmbeddedBroker(log_dir=directory)


async def _run(broker: Broker, directory: Path) -> None:
    say(f"broker: {broker.kind}; {EVENTS:,} events of {AGENTS} agents, medians of {ROUNDS}")
    judged, bare = [], []
    for _ in range(ROUNDS):
        topics = await filled(broker)
        bare.append(_bare_rate(broker, topics, directory))
        with worker(broker, topics, directory):
            judged.append(await rate_of_verdicts(broker, topics))
    base = statistics.median(bare)
    table(
        "throughput, one process",
        ["what", "events/s", "least", "most", "of the baseline"],
        [
            [name, statistics.median(rates), min(rates), max(rates), f"{statistics.median(rates) / base:.2f}"]
            for name, rates in (("Faust agent: decode and count", bare), ("worker: judge and publish", judged))
        ],
    )
    await _latency(broker, directory)


def _events() -> Iterator[tuple[bytes, bytes]]:
    tools = ("read_inbox", "get_webpage", "send_message", "list_files", "search")
    for n in range(EVENTS):
        agent = f"bench-agent-{n % AGENTS}"
        yield agent.encode(), json.dumps(_event(n, agent, f"tool:{tools[n % 5]}")).encode()


def _event(n: int, agent: str, resource: str) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "kind": "action",
        "agent_id": agent,
        "instance": "host-1",
        "session_id": f"{agent}-{n // 2000}",
        "ts": format_ts(time.time()),
        "action_id": str(uuid.UUID(int=n + (7 << 76))),
        "action_type": "tool_call",
        "resource": resource,
        "payload": {"to": f"user-{n % 97}", "subject": "weekly report", "text": "all is well " * (n % 9)},
    }


async def filled(broker: Broker) -> Topics:
    """Fresh topics with all events in the one of actions."""
    topics = Topics(f"b{uuid.uuid4().hex[:8]}")
    await ensure_topics(broker.bootstrap_servers, topics.prefix)
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers, linger_ms=5)
    await producer.start()
    for key, value in _events():
        await producer.send(topics.actions, value, key=key)
    await producer.stop()
    return topics


def _bare_rate(broker: Broker, topics: Topics, directory: Path) -> float:
    command = [sys.executable, "-c", FAUST_AGENT, broker.bootstrap_servers, topics.actions, str(EVENTS)]
    with subprocess.Popen(
        [*command, str(directory / topics.prefix)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "F_FORCE_COLOR": "0"},
        cwd=directory,
    ) as process:
        assert process.stdout is not None
        try:
            line = next((line for line in process.stdout if b"RATE" in line), b"")
            if not line:
                raise SystemExit("the Faust agent ended before it had counted everything")
            return float(line.split(b"RATE")[1].split()[0])
        finally:
            process.kill()


@contextmanager
def worker(broker: Broker, topics: Topics, directory: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vaultak_streams.agents.worker"],
        stderr=subprocess.DEVNULL,
        env={
            **os.environ,
            "VAULTAK_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "VAULTAK_TOPIC_PREFIX": topics.prefix,
            "VAULTAK_DATA_DIR": str(directory / "data"),
            **env,
        },
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def reader(broker: Broker, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest", fetch_max_wait_ms=5
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def rate_of_verdicts(broker: Broker, topics: Topics) -> float:
    """Of all events, from the moment when the first verdict is there to that of the last."""
    async with reader(broker, topics.verdicts) as verdicts:
        started = 0.0
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            there = sum((await verdicts.end_offsets(verdicts.assignment())).values())
            now = time.perf_counter()
            if there and not started:
                started, first = now, there
            if there >= EVENTS:
                return (EVENTS - first) / (now - started)


async def _latency(broker: Broker, directory: Path) -> None:
    """An event that the policy forbids, until its command can be read, beside a bare trip through the broker."""
    topics = Topics(f"b{uuid.uuid4().hex[:8]}")
    await ensure_topics(broker.bootstrap_servers, topics.prefix)
    policy = directory / "policy.json"
    policy.write_text('{"blocked_resources": ["tool:forbidden"], "mode": "block"}')
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers)
    await producer.start()
    with worker(broker, topics, directory, VAULTAK_POLICY=str(policy)):
        async with reader(broker, topics.control) as control, reader(broker, topics.acks) as acks:
            await _probe(producer, topics.actions, control, 5)
            samples = [
                Sample("event -> command", sorted(await _probe(producer, topics.actions, control, PROBES))),
                Sample("produce -> consume", sorted(await _probe(producer, topics.acks, acks, PROBES))),
            ]
    await producer.stop()
    compare("latency, us", samples, baseline="produce -> consume")


async def _probe(producer: AIOKafkaProducer, topic: str, consumer: AIOKafkaConsumer, n: int) -> list[float]:
    values = []
    for i in range(n):
        event = {**_event(i, f"probe-{i % 8}", "tool:forbidden"), "action_id": uuid.uuid4().hex}
        started = time.perf_counter()
        await producer.send_and_wait(topic, json.dumps(event).encode(), key=event["agent_id"].encode())
        record = await consumer.getone()
        while event["action_id"].encode() not in record.value:
            record = await consumer.getone()
        values.append((time.perf_counter() - started) * 1e6)
        await asyncio.sleep(PROBE_PAUSE_S)
    return values
