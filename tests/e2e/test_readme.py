"""What the README shows works as it stands there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from contract.examples import EXAMPLES
from vaultak import wire
from vaultak_devstack.broker import Broker
from vaultak_streams.store.client import connect
from vaultak_streams.store.migrations import migrate

pytestmark = pytest.mark.stack

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_queries_run(clickhouse_database: Callable[..., str]) -> None:
    migrate(clickhouse_database("admin"))
    with connect(clickhouse_database("viewer")) as store:
        statements = [s for s in blocks("sql")[0].split(";") if s.strip()]
        assert len(statements) == 3
        for statement in statements:
            store.query(statement.replace("vaultak.", f"{store.database}."))


async def test_ten_lines_of_plain_aiokafka_obey_a_kill(broker: Broker, topics: wire.Topics) -> None:
    source = next(block for block in blocks("python") if "AIOKafkaConsumer" in block)
    names: dict[str, object] = {}
    exec(compile(source.replace("vaultak.control", topics.control), "README.md", "exec"), names)
    obey: Callable[[str, str], object] = names["obey"]  # type: ignore[assignment]
    obeying = asyncio.ensure_future(_caught(obey("billing-bot", broker.bootstrap_servers)))
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers)
    await producer.start()
    command = wire.encode(EXAMPLES["command"]).replace(b'"pause"', b'"kill"')
    try:
        async with asyncio.timeout(30):
            while not obeying.done():  # the consumer starts at the end of the topic, whenever it gets there
                await producer.send_and_wait(topics.control, command, key=b"billing-bot")
                await asyncio.sleep(0.2)
    finally:
        await producer.stop()
    assert (await obeying) == "killed: risk 0.91"


async def _caught(obeying: object) -> str:
    try:
        await obeying  # type: ignore[misc]
    except SystemExit as e:
        return str(e)
    return "not killed"


def test_the_smallest_event_decodes() -> None:
    text = blocks("json")[0]
    event, _ = wire.decode_event(text.encode())
    assert isinstance(event, wire.Action)
