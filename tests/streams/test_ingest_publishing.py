"""Publishing a recording: every line as it was, keyed and headed, at the pace asked for, through a broker's absence."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from e2e.worker_process import read_until, reader
from vaultak.config import Settings
from vaultak.wire import Topics, format_ts
from vaultak_devstack.broker import Broker
from vaultak_devstack.broker_embedded import EmbeddedBroker
from vaultak_devstack.ports import free_port
from vaultak_devstack.topics import ensure_topics
from vaultak_streams.ingest import Progress, ingest

pytestmark = pytest.mark.stack


def settings(servers: str, topics: Topics, directory: Path) -> Settings:
    return Settings(bootstrap_servers=servers, topics=topics, data_dir=directory, spool_dir=directory)


def recording(path: Path, n: int, step_s: float = 1.0) -> list[bytes]:
    lines = [
        json.dumps(
            {
                "schema_version": 1,
                "kind": "action",
                "agent_id": f"bot-{i % 3}",
                "session_id": "s",
                "ts": format_ts(1_772_438_922 + i * step_s),
                "action_id": f"a{i}",
                "action_type": "file_read",
                "resource": "/tmp/ä",
                "payload": {},
                "extra": None,
            },
            ensure_ascii=False,
        ).encode()
        for i in range(n)
    ]
    path.write_bytes(b"\n".join(lines))
    return lines


async def test_lines_arrive_as_they_were_with_key_and_headers(broker: Broker, topics: Topics, tmp_path: Path) -> None:
    lines = recording(tmp_path / "r.jsonl", 500)
    (tmp_path / "more.jsonl").write_bytes(b"{broken\n" + b"y" * 1_500_000 + b"\n")
    seen: list[Progress] = []
    summary = await ingest(
        settings(broker.bootstrap_servers, topics, tmp_path),
        [tmp_path / "r.jsonl", tmp_path / "more.jsonl"],
        progress=seen.append,
    )
    async with reader(broker.bootstrap_servers, topics.actions) as actions:
        records = await read_until(actions, lambda found: len(found) >= 501)
    assert sorted(r.value for r in records) == sorted([*lines, b"{broken"])
    for record in records:
        if record.key is not None:
            event = json.loads(record.value)
            assert record.key.decode() == event["agent_id"]
            assert dict(record.headers)["ce_type"] == b"vaultak.action.v1"
            assert dict(record.headers)["ce_id"].decode() == event["action_id"]
    assert (summary.events, summary.actions, summary.unreadable, summary.too_large) == (501, 500, 1, 1)
    assert seen[-1] == Progress("publishing", 501, 501)


async def test_the_recorded_pace_is_kept_divided_by_speed(broker: Broker, topics: Topics, tmp_path: Path) -> None:
    recording(tmp_path / "r.jsonl", 11, step_s=1.0)
    started = time.monotonic()
    await ingest(settings(broker.bootstrap_servers, topics, tmp_path), [tmp_path / "r.jsonl"], speed=10.0)
    assert 0.95 <= time.monotonic() - started < 3


async def test_a_broker_that_is_not_there_yet_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port, topics = free_port(), Topics("wait")
    recording(tmp_path / "r.jsonl", 50)
    publishing = asyncio.create_task(ingest(settings(f"127.0.0.1:{port}", topics, tmp_path), [tmp_path / "r.jsonl"]))
    while "no broker answers" not in caplog.text:
        await asyncio.sleep(0.05)
    with EmbeddedBroker(port=port, log_dir=tmp_path) as late:
        await ensure_topics(late.bootstrap_servers, topics.prefix)
        assert (await asyncio.wait_for(publishing, 30)).events == 50
        async with reader(late.bootstrap_servers, topics.actions) as actions:
            await read_until(actions, lambda found: len(found) == 50)
