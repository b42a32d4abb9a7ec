"""Is every action that agents took in the store, once, judged as replay judges it? And every command obeyed, once?"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from failures.parts import STEADY, Deployment
from vaultak.control.partition import partitions_of
from vaultak.policy import PolicySettings
from vaultak.wire import decode_ack
from vaultak_streams.replay import replay
from vaultak_streams.store.client import Store, connect
from vaultak_streams.store.errors import StoreError


class Account(msgspec.Struct):
    """What was found; `wrong` holds a line for each thing that should not be."""

    actions: int = 0
    events: int = 0
    unwritten: int = 0
    """Actions that the SDK had taken when their agent was killed before it could write them down."""
    commands: int = 0
    wrong: list[str] = []


_JUDGED = "SELECT action_id FROM actions WHERE scored_ts IS NOT NULL AND outcome_status IS NOT NULL"
_CHAINS = """
SELECT agent_id, instance, count() AS n, uniqExact(seq) AS numbers, max(seq) + 1 AS length
FROM events WHERE kind != 'undecodable' GROUP BY agent_id, instance HAVING n != numbers OR n != length
"""
_MINUTES = "SELECT agent_id, minute, actions FROM agent_minutes"
_COUNTED = """
SELECT agent_id, toStartOfMinute(toDateTime(ts, 'UTC')) AS minute, count() AS actions
FROM actions GROUP BY agent_id, minute
"""
_VERDICTS = "SELECT action_id, risk, decision, reasons, model_version, baseline_events FROM actions"


def complete(deployment: Deployment, timeout_s: float = 180.0) -> bool:
    """Wait until all that stands in the ledgers is stored with outcome and verdict; `False` when it takes longer."""
    wanted = {action_id for name in deployment.ledgers for action_id in deployment.written(name)}
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with connect(deployment.clickhouse.dsn("viewer")) as store:
                if wanted <= {row[0] for row in store.query(_JUDGED).rows}:
                    return True
        except StoreError:
            pass
        time.sleep(0.5)
    return False


def account(deployment: Deployment, commands: list[str]) -> Account:
    """Go through everything. For when the agents have ended and `complete` has waited."""
    found = Account()
    with connect(deployment.clickhouse.dsn("viewer")) as store:
        _ledgers(deployment, store, found)
        _events(store, found)
        _minutes(store, found)
        found.wrong += _against_replay(deployment, store)
    _commands(deployment, commands, found)
    return found


def _ledgers(deployment: Deployment, store: Store, found: Account) -> None:
    stored = Counter(row[0] for row in store.query("SELECT action_id FROM actions").rows)
    judged = {row[0] for row in store.query(_JUDGED).rows}
    written = [action_id for name in deployment.ledgers for action_id in deployment.written(name)]
    found.actions = len(stored)
    found.unwritten = len(set(stored) - set(written))
    found.wrong += [f"action {one} is lost" for one in set(written) - set(stored)]
    found.wrong += [f"action {one} has no verdict or no outcome" for one in set(written) & set(stored) - judged]
    found.wrong += [f"action {one} is there {n} times" for one, n in stored.items() if n > 1]


def _events(store: Store, found: Account) -> None:
    found.events = store.query("SELECT count() FROM events").rows[0][0]
    for row in store.query(_CHAINS).records():
        found.wrong.append(f"the chain of {row['agent_id']} {row['instance']} has gaps or doubles: {row}")


def _minutes(store: Store, found: Account) -> None:
    rolled, counted = (set(store.query(sql).rows) for sql in (_MINUTES, _COUNTED))
    found.wrong += [f"minute {row} of the roll-up is not what the actions say" for row in rolled ^ counted]


def _against_replay(deployment: Deployment, store: Store) -> list[str]:
    topic = deployment.settings.topics.actions
    lines = asyncio.run(_all(deployment, topic))
    with tempfile.TemporaryDirectory() as folder:
        recording, output = Path(folder) / "recording.jsonl", Path(folder) / "verdicts.jsonl"
        recording.write_bytes(b"\n".join(lines))
        replay(history=None, input=recording, output=output, policy=PolicySettings())
        verdicts: list[dict[str, Any]] = [json.loads(line) for line in output.read_bytes().splitlines()]
    expected = {
        v["action_id"]: (v["risk"], v["decision"], v["reasons"], v["model_version"], v["baseline_events"])
        for v in verdicts
    }
    stored = {row[0]: row[1:] for row in store.query(_VERDICTS).rows}
    return [
        f"action {one} was judged {stored.get(one)}, replay says {verdict}"
        for one in expected.keys() | stored.keys()
        if stored.get(one) != (verdict := expected.get(one))
    ]


def _commands(deployment: Deployment, commands: list[str], found: Account) -> None:
    """Each was answered by the steady agent, and whatever was answered twice was answered alike."""
    acks = [decode_ack(value) for value in asyncio.run(_all(deployment, deployment.settings.topics.acks))]
    answers: dict[str, set[tuple[str, str]]] = {one: set() for one in commands}
    for ack in acks:
        if ack.agent_id == STEADY and ack.command_id in answers:
            answers[ack.command_id].add((ack.instance, ack.ts))
    found.commands = len(commands)
    found.wrong += [f"command {one} was not answered" for one, given in answers.items() if not given]
    found.wrong += [f"command {one} was obeyed {len(given)} times" for one, given in answers.items() if len(given) > 1]


async def _all(deployment: Deployment, topic: str) -> list[bytes]:
    """Every record of a topic, each partition in order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=deployment.broker.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(await partitions_of(consumer, topic))]
        consumer.assign(partitions)
        values: list[bytes] = []
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            while await consumer.position(partition) < end:
                fetched = await consumer.getmany(partition, timeout_ms=500)
                values += [record.value for records in fetched.values() for record in records if record.value]
        return values
    finally:
        await consumer.stop()
