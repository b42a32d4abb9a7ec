"""Anchors on the topic: what the file lacks, the topic still knows. On a real broker and ClickHouse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from audit.recorded import Recorder
from vaultak.config import Settings
from vaultak.wire import Topics
from vaultak_devstack.broker import Broker
from vaultak_streams.audit.anchor_file import anchors_dir, read_anchors
from vaultak_streams.audit.anchor_topic import AnchorTopic, AnchorTopicError, read_topic
from vaultak_streams.audit.findings import What
from vaultak_streams.audit.verify import verify
from vaultak_streams.sink.sink import Sink
from vaultak_streams.store.client import connect
from vaultak_streams.store.migrations import migrate

pytestmark = pytest.mark.stack

Dsn = Callable[..., str]
DEADLINE_S = 60


@pytest.fixture
def settings(broker: Broker, topics: Topics, tmp_path: Path) -> Settings:
    known = Settings.from_env({"VAULTAK_DATA_DIR": str(tmp_path)})
    return msgspec.structs.replace(known, bootstrap_servers=broker.bootstrap_servers, topics=topics)


async def send(settings: Settings, recorder: Recorder) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, acks="all")
    await producer.start()
    for record in recorder.records:
        await producer.send_and_wait(record.topic, record.value, key=record.key)
    await producer.stop()


async def store_by_sink(settings: Settings, dsn: str, records: int) -> Sink:
    """Run the sink until it has stored so many records, then let it end."""
    sink = Sink(settings, dsn)
    running = asyncio.create_task(sink.run())
    async with asyncio.timeout(DEADLINE_S):
        while sink.stats.records < records:
            await asyncio.sleep(0.05)
        sink.stop()
        await running
    return sink


async def test_a_tail_cut_off_in_store_and_file_shows_by_the_topic(
    settings: Settings, clickhouse_database: Dsn, tmp_path: Path
) -> None:
    migrate(clickhouse_database("admin"))
    recorder = Recorder(settings.topics)
    for _ in range(4):
        recorder.act("ada")
    await send(settings, recorder)
    sink = await store_by_sink(settings, clickhouse_database("writer"), len(recorder.records))
    assert (sink.stats.anchors, sink.stats.anchor_errors) == (1, 0)
    (line,) = read_anchors(tmp_path)
    (copy,) = await read_topic(settings)
    assert copy.anchor == line.anchor
    with connect(clickhouse_database("admin")) as store:
        report = verify(store, data_dir=tmp_path, published=[copy])
        assert (report.findings, report.verdicts, report.anchored_chains) == ([], 4, 1)
        store.command("ALTER TABLE events_log DELETE WHERE seq >= 4 SETTINGS mutations_sync = 2")
        for path in anchors_dir(tmp_path).iterdir():
            path.unlink()
        assert What.TAIL_CUT not in {f.what for f in verify(store, data_dir=tmp_path).findings}
        assert What.TAIL_CUT in {f.what for f in verify(store, data_dir=tmp_path, published=[copy]).findings}


async def test_a_broker_that_is_away_is_counted_and_told(settings: Settings) -> None:
    away = msgspec.structs.replace(settings, bootstrap_servers="127.0.0.1:1")
    topic = AnchorTopic(away)
    line = b'{"ts":"2026-03-02T08:08:42.539518Z","number":0,"prev_hash":"%b","heads":[]}\n' % (b"0" * 64)
    await topic.publish("sink-1", [line])
    await topic.close()
    assert (topic.published, topic.errors) == (0, 1)
    with pytest.raises(AnchorTopicError, match=r"127\.0\.0\.1:1"):
        await read_topic(away)
