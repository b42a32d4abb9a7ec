"""Closing an incident by hand: one message for each of its incidents, in the operator's name, that the store takes."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer
from starlette.testclient import TestClient

from console.conftest import SECRET, TOKEN, csrf_of
from console.recorded import INCIDENT, ROGUE
from vaultak import wire
from vaultak.config import Settings
from vaultak_devstack.broker import Broker
from vaultak_devstack.keys import command_signer
from vaultak_streams.console.app import build
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.options import ConsoleOptions
from vaultak_streams.console.reading import Reader
from vaultak_streams.console.sessions import Sessions
from vaultak_streams.records import Record
from vaultak_streams.sink.batches import Batch
from vaultak_streams.sink.rows import routes
from vaultak_streams.store.client import connect
from vaultak_streams.store.migrations import migrate

pytestmark = pytest.mark.stack


async def _first(broker: Broker, topic: str) -> Record:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        found = await asyncio.wait_for(consumer.getone(), 30)
        return Record(found.topic, found.partition, found.offset, found.key, found.value, found.timestamp)
    finally:
        await consumer.stop()


def test_a_close_is_told_in_the_operators_name_and_stored(
    settings: Settings, recorded_dsn: str, broker: Broker, topics: wire.Topics, clickhouse_database: Callable[..., str]
) -> None:
    settings = msgspec.structs.replace(settings, bootstrap_servers=broker.bootstrap_servers, topics=topics)
    desk = Desk(settings=settings, reader=Reader(recorded_dsn), sign=command_signer(settings.data_dir))
    with TestClient(
        build(desk, ConsoleOptions(token=TOKEN), b"s"), base_url="http://127.0.0.1", follow_redirects=False
    ) as client:
        client.get(f"/login?token={TOKEN}")
        form = {"csrf": csrf_of(client), "id": INCIDENT, "note": "a wrong path in the export job"}
        assert client.post("/incident/close", data=form).headers["location"] == "/incidents?closed=1"
    record = asyncio.run(_first(broker, topics.incidents))
    incident = msgspec.json.decode(record.value or b"", type=wire.Incident)
    assert record.key == ROGUE.encode()
    assert (incident.status, incident.closed_by) == (wire.IncidentStatus.CLOSED, "console:local")
    assert incident.action_ids == tuple(f"rogue-{n:02}" for n in range(9, 14))
    migrate(clickhouse_database("admin"))
    batch = Batch(routes(topics), dt.datetime.now(dt.UTC))
    batch.add([record])
    with connect(clickhouse_database("writer")) as store:
        for block in batch.blocks():
            store.insert(block.table, block.names, block.columns())
        stored = store.query("SELECT incident_id, status, closed_by, note FROM incidents").rows
    assert stored == [(INCIDENT, "closed", "console:local", "a wrong path in the export job")]


def test_who_may_not_act_may_not_close(console: Callable[..., TestClient]) -> None:
    proxied = {"identity_header": "x-user", "trusted_proxies": ("10.0.0.1",), "client": ("10.0.0.1", 1)}
    client = console(**proxied)
    client.headers["x-user"] = "vera"
    form = {"id": INCIDENT, "csrf": Sessions(SECRET).csrf("header:vera")}
    assert "a viewer may not do this" in client.post("/incident/close", data=form).text
    assert "/incident/close" not in client.get("/incident", params={"id": INCIDENT}).text


def test_a_close_without_its_token_or_broker_closes_nothing(admin: TestClient) -> None:
    assert admin.post("/incident/close", data={"id": INCIDENT}).status_code == 403
    form = {"id": INCIDENT, "csrf": csrf_of(admin)}
    assert "Nothing was closed" in admin.post("/incident/close", data=form).text
    assert admin.post("/incident/close", data={**form, "id": "none"}).status_code == 404
